package dlms

import "fmt"

// DataAccessResult is the outcome of reading or writing one attribute (GB 9.5, Data-Access-Result). Every value
// but DataAccessSuccess is an error.
type DataAccessResult uint8

// Data access results (GB 9.5).
const (
	DataAccessSuccess            DataAccessResult = 0
	DataAccessHardwareFault      DataAccessResult = 1
	DataAccessTemporaryFailure   DataAccessResult = 2
	DataAccessReadWriteDenied    DataAccessResult = 3
	DataAccessObjectUndefined    DataAccessResult = 4
	DataAccessClassInconsistent  DataAccessResult = 9
	DataAccessObjectUnavailable  DataAccessResult = 11
	DataAccessTypeUnmatched      DataAccessResult = 12
	DataAccessScopeViolated      DataAccessResult = 13
	DataAccessBlockUnavailable   DataAccessResult = 14
	DataAccessLongGetAborted     DataAccessResult = 15
	DataAccessNoLongGet          DataAccessResult = 16
	DataAccessLongSetAborted     DataAccessResult = 17
	DataAccessNoLongSet          DataAccessResult = 18
	DataAccessBlockNumberInvalid DataAccessResult = 19
	DataAccessOtherReason        DataAccessResult = 250
)

var dataAccessText = map[DataAccessResult]string{
	DataAccessSuccess:            "success",
	DataAccessHardwareFault:      "hardware-fault",
	DataAccessTemporaryFailure:   "temporary-failure",
	DataAccessReadWriteDenied:    "read-write-denied",
	DataAccessObjectUndefined:    "object-undefined",
	DataAccessClassInconsistent:  "object-class-inconsistent",
	DataAccessObjectUnavailable:  "object-unavailable",
	DataAccessTypeUnmatched:      "type-unmatched",
	DataAccessScopeViolated:      "scope-of-access-violated",
	DataAccessBlockUnavailable:   "data-block-unavailable",
	DataAccessLongGetAborted:     "long-get-aborted",
	DataAccessNoLongGet:          "no-long-get-in-progress",
	DataAccessLongSetAborted:     "long-set-aborted",
	DataAccessNoLongSet:          "no-long-set-in-progress",
	DataAccessBlockNumberInvalid: "data-block-number-invalid",
	DataAccessOtherReason:        "other-reason",
}

// String returns the name that the standard gives the code.
func (r DataAccessResult) String() string {
	if s, ok := dataAccessText[r]; ok {
		return s
	}
	return fmt.Sprintf("data-access-result %d", uint8(r))
}

// Error makes a refusal usable with errors.Is.
func (r DataAccessResult) Error() string { return "data access: " + r.String() }

// ActionResult is the outcome of invoking one method (GB 9.5, Action-Result). Every value but ActionSuccess is an
// error.
type ActionResult uint8

// Action results (GB 9.5).
const (
	ActionSuccess           ActionResult = 0
	ActionHardwareFault     ActionResult = 1
	ActionTemporaryFailure  ActionResult = 2
	ActionReadWriteDenied   ActionResult = 3
	ActionObjectUndefined   ActionResult = 4
	ActionClassInconsistent ActionResult = 9
	ActionObjectUnavailable ActionResult = 11
	ActionTypeUnmatched     ActionResult = 12
	ActionScopeViolated     ActionResult = 13
	ActionBlockUnavailable  ActionResult = 14
	ActionLongAborted       ActionResult = 15
	ActionNoLong            ActionResult = 16
	ActionOtherReason       ActionResult = 250
)

// String returns the name that the standard gives the code.
func (r ActionResult) String() string {
	switch r {
	case ActionLongAborted:
		return "long-action-aborted"
	case ActionNoLong:
		return "no-long-action-in-progress"
	}
	return DataAccessResult(r).String()
}

// Error makes a refusal usable with errors.Is.
func (r ActionResult) Error() string { return "action: " + r.String() }
