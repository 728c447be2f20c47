// Package cosem holds the interface classes of BB (IEC 62056-6-2) that a meter of this module serves.
//
// An [Object] is a flyweight: one value may serve every meter of a fleet. What differs between meters is reached
// through the [Env] of the call, by the callbacks given to the constructors. An object keeps no state, decides no
// rights and knows no key: who may reach which attribute is the business of the server's model, and the key
// transfer of class 64 is checked here in form only and then handed to the device.
//
// Errors that a callback returns reach the line as a result code: a [dlms.DataAccessResult] or a
// [dlms.ActionResult] as it is, anything else as other-reason. The text of an error never leaves the meter.
package cosem
