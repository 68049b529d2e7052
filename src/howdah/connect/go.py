"""Go with pgx, which speaks the protocol itself; the facts stand in _go.py."""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _go
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
// go mod init example && go get @{module} && go run .
package main

import (
	"context"
@{imports}	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
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
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), @{seconds}*time.Second)
	defer cancel()
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer connection.Close(ctx)

	var answer int
	if err := connection.QueryRow(ctx, "SELECT 6 * $1::int", 7).Scan(&answer); err != nil {
		return err
	}
@{encrypted}
	fmt.Println("answer:", answer)
	fmt.Println("encrypted (@{witness}):", map[bool]string{true: "yes", false: "no"}[encrypted])
@{told}	if !@{wanted} && config.TLSConfig != nil {
		return errors.New("cannot go on: the connection is not encrypted")
	}
	return nil
}
""")
BY_CLIENT = "	_, encrypted := connection.PgConn().Conn().(*tls.Conn)\n"
BY_SERVER = """\
	var {seen} bool
	if err := connection.QueryRow(ctx, "{asked}").Scan(&{seen}); err != nil {{
		return err
	}}"""


def snippet(target: Target) -> Snippet:
    """Return the program; DATABASE_URL outvotes what stands in it."""
    url = _go.url(target)
    text = PROGRAM.substitute(
        label=target.label,
        module=_go.MODULE,
        imports='	"crypto/tls"\n' if target.pooled else "",
        url=_driver.doubly(url),
        seconds=_driver.TIMEOUT_SECONDS,
        encrypted=(BY_CLIENT if target.pooled else "")
        + BY_SERVER.format(asked=_driver.asked(target), seen="behind" if target.pooled else "encrypted"),
        witness=_driver.witness(target),
        told=_go.told(target),
        wanted=_go.wanted(target),
    )
    notes = _driver.notes(target, binds=True)
    files = {"main.go": text, "go.mod": _go.manifest()}
    return Snippet("go", say("Go, pgx"), "go", text, "main.go", (_go.MODULE,), notes, files, {"DATABASE_URL": url})
