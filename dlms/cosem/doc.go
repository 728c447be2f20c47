// Package cosem holds interface classes of BB (IEC 62056-6-2), for both ends: the objects that a meter serves, and
// the same objects as a client works them.
//
// # In a meter
//
// An [Object] is a flyweight: one value may serve every meter of a fleet. What differs between meters is reached
// through the [Env] of the call, by the callbacks given to the constructors, or by a [Stored] value. An object keeps
// no state, decides no rights and knows no key: who may reach which attribute is the business of the server's model,
// and the key transfer of class 64 is checked here in form only and then handed to the device.
//
// Classes that live on have a part that a device holds and guards, on the clock of the caller: [Demand],
// [ProfileBuffer], [Breaker], [LimiterEngine], [PushEngine], and an [ImageStore] for images.
//
// Errors that a callback returns reach the line as a result code: a [dlms.DataAccessResult] or a
// [dlms.ActionResult] as it is, anything else as other-reason. The text of an error never leaves the meter. A value
// that a client writes is parsed strictly, bounded and copied before a device sees it.
//
// # In a client
//
// RegisterAt, ClockAt, ProfileAt and the like return an object of a meter behind a [Caller], which an association of
// package client is. Their methods read and write typed values. [Describe], [ClassName], [AttributeName], [MethodName]
// and [ObjectName] say in words what a meter has.
//
// # Classes
//
//	 1 Data                version 0
//	 3 Register            version 0
//	 4 Extended register   version 0
//	 5 Demand register     version 0
//	 7 Profile generic     version 1
//	 8 Clock               version 0
//	15 Association LN      version 1; the client reads the object list of version 0 too
//	17 SAP assignment      version 0
//	18 Image transfer      version 0
//	20 Activity calendar   version 0
//	23 IEC HDLC setup      version 1; the client reads version 0 too
//	40 Push setup          version 0
//	41 TCP-UDP setup       version 0
//	64 Security setup      version 0
//	70 Disconnect control  version 0
//	71 Limiter             version 0
package cosem
