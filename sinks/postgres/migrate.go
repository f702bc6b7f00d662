package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var version1 string

// migrations make version n of the tables out of version n-1; the first makes version 1.
func migrations() []string { return []string{version1} }

// Schema is the SQL that makes the tables in a schema, for those who make them themselves.
func Schema(schema string) string {
	var all []string
	for _, m := range migrations() {
		all = append(all, strings.ReplaceAll(m, "{schema}", pgx.Identifier{schema}.Sanitize()))
	}
	return strings.Join(all, "\n")
}

// migrate brings the tables to the newest version. Several processes may do so at once: one does, the others wait.
func (p *Postgres) migrate(ctx context.Context, db *pgx.Conn) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin to make the tables: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing when it was committed
	schema := pgx.Identifier{p.schema}.Sanitize()
	version := schema + ".mxhook_version"
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "mxhook "+p.schema); err != nil {
		return fmt.Errorf("wait for others who make the tables: %w", err)
	}
	// Not IF NOT EXISTS alone: that needs the right to create schemas even when it is there.
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", p.schema).Scan(&there); err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if !there {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
			return fmt.Errorf("make the schema: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+version+" (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"); err != nil {
		return fmt.Errorf("make the table of versions: %w", err)
	}
	var have int
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+version).Scan(&have); err != nil {
		return fmt.Errorf("read the version of the tables: %w", err)
	}
	all := migrations()
	if have > len(all) {
		return fmt.Errorf("the tables in schema %s are of version %d, and this mxhook knows %d: update it", p.schema, have, len(all))
	}
	for i, m := range all[have:] {
		if _, err := tx.Exec(ctx, strings.ReplaceAll(m, "{schema}", schema)); err != nil {
			return fmt.Errorf("make version %d of the tables: %w", have+i+1, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+version+" (version) VALUES ($1)", have+i+1); err != nil {
			return fmt.Errorf("note version %d of the tables: %w", have+i+1, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit the tables: %w", err)
	}
	return nil
}
