// Package store keeps the truth of the central system in SQL: titles, meters, devices, grants, sealed keys,
// counters, the audit log and what other packages add. It implements the store interfaces that those packages
// declare; it knows their row types and nothing of their rules.
//
// # Two engines
//
// [Open] opens SQLite in the data directory, or a PostgreSQL database that several processes share. The statements are
// the same; what differs is in sqlite.go, postgres.go and the two folders of migrations. One suite (storetest) holds on
// both. In both there is one writing transaction at a time, over all processes: on PostgreSQL an advisory lock of the
// database makes them come one by one. That costs less than it seems, because updates that wait at the same time share
// one transaction and one commit, and it leaves nothing to be retried: what a transaction has read stays as it is.
//
// # Nodes, leases, fencing
//
// [Store.As] gives the database as one of the nodes that share it. Every Update of a node sees first that the node's name
// is still this process's, and every Update under leases (package lease) that they are still held; if not, it fails with
// [ErrFenced] and has written nothing.
//
// # How a package adds its tables
//
// One file here named for the package (rotation.go) and one migration in each folder, of the same name. The file
// holds methods of [Store] that take a context: inside [Store.Update] the context carries the transaction, so
// methods of several packages join one commit without knowing of each other:
//
//	err := s.Update(ctx, func(ctx context.Context) error { // this ctx carries the transaction
//		if err := vault.MarkSent(ctx, by, refs); err != nil {
//			return err
//		}
//		return s.SaveRotations(ctx, rows)
//	})
//
// Reads outside of Update and View take a connection of their own. Writes outside of Update are refused.
// Nothing is durable before the outermost Update has returned nil. After an error of a statement an Update must fail:
// PostgreSQL has given the transaction up by then.
//
// # SQL
//
// "?" placeholders, times as microseconds since 1970 UTC (micros, fromMicros), system titles as 8 bytes. SQLite: STRICT
// tables, INTEGER, BLOB; PostgreSQL: BIGINT, BYTEA. Keep to what both understand: ON CONFLICT, RETURNING, no INSERT OR, no
// rowid, columns of an ON CONFLICT named with their table. Many rows go through execEach and each, never a loop of exec:
// PostgreSQL then gets them in one round trip.
package store
