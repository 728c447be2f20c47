package concentrator

import (
	"errors"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
)

// maxFaultText bounds the text of a fault.
const maxFaultText = 512

// faultOf says an error as the IS has to know it: whether the meter may have done something is what counts.
func faultOf(err error) *bus.Fault {
	var f *bus.Fault
	if errors.As(err, &f) {
		return &bus.Fault{Code: f.Code, Text: clip(f.Text)}
	}
	code := bus.FaultUnknown
	if errors.Is(err, ErrNotSent) {
		code = bus.FaultUnreachable
	}
	return &bus.Fault{Code: code, Text: clip(err.Error())}
}

func clip(s string) string { return s[:min(len(s), maxFaultText)] }

func meterFault(t dlms.SystemTitle, err error) bus.MeterFault {
	f := faultOf(err)
	return bus.MeterFault{Meter: t, Code: f.Code, Text: f.Text}
}

// refused makes a fault for what this concentrator will not do.
func refused(text string) *bus.Fault { return &bus.Fault{Code: bus.FaultRefused, Text: text} }

func fail(err error) bus.Reply { return bus.Reply{Fault: faultOf(err)} }
