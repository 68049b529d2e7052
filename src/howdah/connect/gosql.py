"""Go's database/sql on pgx; the facts stand in _go.py.

database/sql keeps connections itself (https://pkg.go.dev/database/sql#DB.SetMaxIdleConns, two by default): in session mode each that
waits keeps a server connection. A query outside Tx may run on any of them, so SET, LISTEN and locks need sql.Conn, and past the pooler.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _go
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
// go mod init example && go get @{module} && go run .
package main

import (
	"context"
@{imports}	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

@{driver}
)

const database = @{url}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	url := os.Getenv("DATABASE_URL")
	if url == "" {
		url = database
	}
	pool, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer pool.Close()
	pool.SetMaxOpenConns(10)
	pool.SetMaxIdleConns(@{idle})
	ctx, cancel := context.WithTimeout(context.Background(), @{seconds}*time.Second)
	defer cancel()
	connection, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()

	var answer int
	if err := connection.QueryRowContext(ctx, "SELECT 6 * $1::int", 7).Scan(&answer); err != nil {
		return err
	}
@{encrypted}
	fmt.Println("answer:", answer)
	fmt.Println("encrypted (@{witness}):", map[bool]string{true: "yes", false: "no"}[encrypted])
@{told}	if !@{wanted} && !strings.Contains(url, "sslmode=disable") {
		return errors.New("cannot go on: the connection is not encrypted")
	}
	return nil
}
""")
BY_CLIENT = """\
	var encrypted bool
	err = connection.Raw(func(driver any) error {
		_, encrypted = driver.(*stdlib.Conn).Conn().PgConn().Conn().(*tls.Conn)
		return nil
	})
	if err != nil {
		return err
	}
"""
BY_SERVER = """\
	var {seen} bool
	if err := connection.QueryRowContext(ctx, "{asked}").Scan(&{seen}); err != nil {{
		return err
	}}"""


def snippet(target: Target) -> Snippet:
    """Return the program; DATABASE_URL outvotes what stands in it."""
    url = _go.url(target)
    text = PROGRAM.substitute(
        label=target.label,
        module=_go.MODULE,
        imports='	"crypto/tls"\n' if target.pooled else "",
        driver=f'	{"" if target.pooled else "_ "}"{_go.MODULE}/stdlib"',
        url=_driver.doubly(url),
        seconds=_driver.TIMEOUT_SECONDS,
        idle=0 if target.pool_mode == "session" else 10,
        encrypted=(BY_CLIENT if target.pooled else "")
        + BY_SERVER.format(asked=_driver.asked(target), seen="behind" if target.pooled else "encrypted"),
        witness=_driver.witness(target),
        told=_go.told(target),
        wanted=_go.wanted(target),
    )
    notes = _driver.notes(target, binds=True)
    files = {"main.go": text, "go.mod": _go.manifest()}
    return Snippet("gosql", say("Go, database/sql"), "go", text, "main.go", (_go.MODULE,), notes, files, {"DATABASE_URL": url})
