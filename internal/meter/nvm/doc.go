// Package nvm is the non-volatile memory of simulated meters: an append-only sequence of frames for each meter.
//
// A frame is kept whole or not at all. What was appended as durable is there after a power cut at any later moment;
// a frame that the power cut tore, at the very end, was never acknowledged and is cut off when the memory is opened.
// Damage anywhere else is an error: a memory that lost a receive floor or a sending counter in its middle must not be
// taken for an older one, or nonces repeat and sessions replay (laws 4 and 5 of the design).
//
// What the frames say is the business of the meter. They hold its keys in clear, as the memory chip of a real meter
// does: the files are readable by their owner alone.
package nvm
