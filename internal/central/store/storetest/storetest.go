// Package storetest is what a store must do, whatever engine is under it. It is run on SQLite in the ordinary tests and
// on PostgreSQL in those with the build tag integration.
package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// Pair opens a new database, twice where several processes may share one, else once.
type Pair func(t *testing.T) (one, other *store.Store)

// Run runs the suite, each test on a new database.
func Run(t *testing.T, fresh Pair) {
	for name, test := range map[string]func(*testing.T, *world){
		"UpdateRollsBackWhenAnyPartFails":                   updateRollsBack,
		"UpdateEndsItsTransactionWhenTheFunctionPanics":     updatePanics,
		"DurableRefusesToBePartOfAnotherUpdate":             durableNested,
		"WritesOutsideOfUpdateAreRefused":                   writesOutside,
		"AViewSeesOneMoment":                                viewIsASnapshot,
		"AnUpdateSeesItsOwnWrites":                          ownWrites,
		"ConcurrentUpdatesAreSerialAndEachStandsAlone":      concurrent,
		"AFailedUpdateTakesNoneOfItsGroupWithIt":            failedMember,
		"APanicReachesTheOneWhoAskedAlone":                  panickedMember,
		"AnUpdateWhoseCallerGaveUpInTheQueueIsNotDone":      cancelled,
		"BeforeCommitWritesOnceForAllThatSucceeded":         beforeCommit,
		"BeforeCommitThatFailsCommitsNothing":               beforeCommitFails,
		"AuditOfAFailedUpdateIsNotWritten":                  auditOfAFailed,
		"LeaseTakenInTheSameCommitIsLost":                   takenInOneCommit,
		"Law4CountersNeverFall":                             countersNeverFall,
		"Law4ATitleIsBorneOnce":                             titlesOnce,
		"KeysComeBackAsTheyWereStored":                      keysComeBack,
		"Law6AKeyIsOneMetersAlone":                          law6OneKeyOneMeter,
		"ManyRowsAtOnceAreAllThereOrNone":                   manyRows,
		"KeyStatesOfUnknownVersionsAreRefused":              unknownStates,
		"AMeterThatMovesIsUnderItsNewConcentrator":          assign,
		"AMoveIsNotedUntilItsKeyIsNobodyElses":              moves,
		"OpenChangesFollowAMeterThatIsMoved":                movedChanges,
		"AMeterThatIsGivenAwayTakesItsOpenChangesAlong":     exports,
		"WhatTerminalsMayHaveOfAKeyIsListed":                lent,
		"ExposureTellsWhoHoldsWhichLiveKeySinceWhen":        exposure,
		"ACampaignKeepsItsLimitsAndTellsItsEndHonestly":     campaignLimits,
		"ACampaignSelectsWhatWasAskedForInItsOrder":         campaignSelections,
		"ACampaignStopsWhenItsFailureBudgetIsSpent":         campaignBudget,
		"ACampaignIsNotServedByAnEarlierChange":             campaignBefore,
		"OneNodeRunsTheCampaigns":                           campaignNodes,
		"AKeyPastHalfOfItsCountersIsFound":                  spent,
		"RowsAreSealedAnewByTheirTerm":                      reSeal,
		"GrantsGoFromLiveToEndedToClosedAndNeverBack":       grants,
		"ReadingsAreNeverReplaced":                          readings,
		"ABootCounterRises":                                 epochs,
		"ADeviceLogHasNoGap":                                deviceLog,
		"AuditLeavesAreNumberedInOrderWithoutAGap":          auditLeaves,
		"AMeterIsFoundInAuditRecordsOfManyKeys":             auditMentions,
		"MetersAreListedByPages":                            pages,
		"DueTakesOneChangeAMeter":                           dueChanges,
		"AKeyHasOneOpenChange":                              oneOpenChange,
		"WhatAPeerSaidIsStorable":                           hostileText,
		"TheJournalsPlaceIsTheNodesOwn":                     journalPlaces,
		"ALeaseIsHeldByOne":                                 leaseHeld,
		"ATokenOnlyGoesUp":                                  tokenRises,
		"FencingRefusesThePausedOwnersWrite":                fencing,
		"FencingRefusesInsideAJoinedUpdate":                 fencingJoined,
		"AnEndedLeaseThatNobodyTookStillWrites":             endedNotTaken,
		"AReplacedNodeCanWriteNothing":                      replacedNode,
		"DuePassesOverWhatAnotherNodeHasLeased":             dueLeased,
		"ALeaseThatIsLostCancelsItsContext":                 lostCancels,
		"OfManyWhoWantALeaseOneGetsIt":                      raceForLease,
		"ALeaseThatAClockAheadTookHoldsNobodyUp":            leaseOfAClockAhead,
		"AStandingLeaseIsKeptAndPassesOnWhenItsOwnerIsGone": standingLease,
		"AMakersKeyIsRevokedForGood":                        makers,
		"AMeterIsGivenAwayOnce":                             departed,
		"ACertificateIsKnownUntilItIsRevoked":               certificates,
		"AnApprovalEndsOnce":                                approvals,
		"WhatIsUsedOfAQuotaIsCountedByAllNodes":             quotas,
		"TwoReconcilersNeverDriveOneConcentrator":           twoReconcilers,
		"AReconcilerPausedPastItsLeaseWritesNothing":        pausedReconciler,
		"LateMetersHoldNoOthersOfACampaignUp":               campaignLate,
	} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, fresh)) })
	}
}

// world is a database with something in it.
type world struct {
	*store.Store
	other *store.Store // another process's, where there can be one
	t     *testing.T
}

func newWorld(t *testing.T, fresh Pair) *world {
	t.Helper()
	one, other := fresh(t)
	return &world{one, other, t}
}

// at is a moment; the stores know no other clock.
var at = time.Date(2026, 11, 3, 4, 5, 6, 789000, time.UTC)

func title(kind byte, n int) dlms.SystemTitle {
	return dlms.SystemTitle{'M', 'S', 'L', kind, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// update is Update without an error.
func (w *world) update(fn func(ctx context.Context) error) {
	w.t.Helper()
	w.must(w.Update(w.t.Context(), fn))
}

// add adds a title, the smallest write there is.
func (w *world) add(ctx context.Context, n int) error { return w.AddNode(ctx, title('N', n), at) }

// has counts which of the titles 0 to n-1 are there.
func (w *world) has(ctx context.Context, n int) int {
	w.t.Helper()
	all := make([]dlms.SystemTitle, n)
	for i := range all {
		all[i] = title('N', i)
	}
	kinds, err := w.TitleKinds(ctx, all)
	w.must(err)
	return len(kinds)
}

// enrol puts n meters with a CC_IS each under one concentrator.
func (w *world) enrol(n int) (meters []dlms.SystemTitle, dc dlms.SystemTitle) {
	w.t.Helper()
	dc = title('D', 1)
	rows, keys := make([]vault.MeterRow, n), make([]vault.KeyRow, n)
	for i := range n {
		meters = append(meters, title('M', i))
		rows[i] = vault.MeterRow{Title: meters[i], Maker: "MSL", Batch: "1", Profile: "hardened", EnrolledAt: at}
		keys[i] = keyRow(meters[i], 1, vault.Active)
	}
	w.update(func(ctx context.Context) error {
		err := w.AddDevice(ctx, deviceRow(dc))
		err = errors.Join(err, w.AddMeters(ctx, rows), w.AddKeys(ctx, keys))
		k, errA := w.AssignMeters(ctx, dc, meters)
		if k != n {
			w.t.Errorf("want %d meters assigned, got %d", n, k)
		}
		return errors.Join(err, errA)
	})
	return meters, dc
}

func deviceRow(d dlms.SystemTitle) vault.DeviceRow {
	key := func(b byte) vault.DeviceKeyRow {
		return vault.DeviceKeyRow{Term: 1, Sealed: []byte{b}, MAC: []byte{b}, Fingerprint: vault.Fingerprint{b, d[3], d[7]}}
	}
	return vault.DeviceRow{
		Title: d, Kind: fleet.KindConcentrator, NKeyPublic: "U" + d.String(), Fingerprint: "f", State: "enrolled", EnrolledAt: at,
		KEK: key(1), MAC: key(2),
	}
}

func keyRow(m dlms.SystemTitle, version uint32, s vault.State) vault.KeyRow {
	return vault.KeyRow{
		Ref: role.KeyRef{Meter: m, Role: role.CCIS, Version: version}, Suite: 0, Term: 3,
		Sealed: slices.Concat([]byte{0, 1, 255}, m[:]), MAC: []byte{4}, CheckValue: vault.CheckValue{1, 2, byte(version)},
		Fingerprint: vault.Fingerprint(slices.Concat(m[:], []byte{byte(version >> 8), byte(version), 0, 0, 0, 0, 0, 1})), State: s, CreatedAt: at,
	}
}
