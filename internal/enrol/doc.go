// Package enrol is how a concentrator or a terminal comes to be known to the central system, and how it then
// receives keys.
//
// The device makes an [Identity] and keeps it. It hands out a [File]: who it is, and two keys encrypted to the
// central system's vault (a KEK to seal keys to the device under, and a MAC key to bind them). Both sides show the
// file's fingerprint; a person compares them. From then on the vault hands out [SealedKey] values, and to terminals
// [Grant] values, which the device opens with its identity. Nothing else in a device can: the package below the
// vault and the package in the device share this form and nothing more.
package enrol
