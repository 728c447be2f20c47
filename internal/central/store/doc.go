// Package store keeps the truth of the central system in SQL: titles, meters, devices, grants, sealed keys,
// counters, the audit log and what other packages add. It implements the store interfaces that those packages
// declare; it knows their row types and nothing of their rules.
//
// # How a package adds its tables
//
// One file here named for the package (rotation.go) and one migration (migrations/0002_rotation.sql). The file
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
// Reads outside of Update and View take a connection of the read pool. Writes outside of Update are refused.
// Nothing is durable before the outermost Update has returned nil.
//
// # SQL
//
// STRICT tables, "?" placeholders, times as INTEGER microseconds since 1970 UTC (micros, fromMicros), system
// titles as BLOB of 8 bytes. Keep to SQL that PostgreSQL understands too (ON CONFLICT, no INSERT OR, no rowid).
package store
