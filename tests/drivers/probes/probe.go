// Package main goes by the snippet's URL: one line in, one line out.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var open = map[string]*pgx.Conn{}
var ctx = context.Background()

func first(connection *pgx.Conn, sql string) (any, error) {
	rows, err := connection.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var said any = "-"
	if rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, err
		}
		said = values[0]
	}
	rows.Close()
	return said, rows.Err()
}

func count(connection *pgx.Conn, sql string) (any, error) {
	rows, err := connection.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	seen := 0
	for rows.Next() {
		seen++
	}
	return seen, rows.Err()
}

func answer(verb, name, rest string) (any, error) {
	if verb == "open" {
		connection, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
		open[name] = connection
		return "-", err
	}
	connection := open[name]
	var number int
	switch verb {
	case "do":
		return first(connection, rest)
	case "ask":
		err := connection.QueryRow(ctx, "SELECT 6 * $1::int", 7).Scan(&number)
		return number, err
	case "named":
		if _, err := connection.Prepare(ctx, "kept", "SELECT 5 + 6 * $1::int - 5"); err != nil {
			return nil, err
		}
		err := connection.QueryRow(ctx, "kept", 7).Scan(&number)
		return number, err
	case "cursor":
		tx, err := connection.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer tx.Rollback(ctx)
		if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT generate_series(1, "+rest+")"); err != nil {
			return nil, err
		}
		return count(connection, "FETCH ALL c")
	case "big":
		return count(connection, "SELECT generate_series(1, "+rest+")")
	case "copy":
		tx, err := connection.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer tx.Rollback(ctx)
		if _, err := tx.Exec(ctx, "CREATE TEMP TABLE copied (n int) ON COMMIT DROP"); err != nil {
			return nil, err
		}
		var lines bytes.Buffer
		var wanted int
		fmt.Sscan(rest, &wanted)
		for n := 0; n < wanted; n++ {
			fmt.Fprintln(&lines, n)
		}
		tag, err := connection.PgConn().CopyFrom(ctx, &lines, "COPY copied FROM STDIN")
		return tag.RowsAffected(), err
	case "cancel":
		go func() {
			time.Sleep(300 * time.Millisecond)
			if err := connection.PgConn().CancelRequest(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
		return first(connection, "SELECT pg_sleep(8)")
	case "heard":
		limited, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		defer stop()
		if _, err := connection.WaitForNotification(limited); err != nil {
			return "no", nil
		}
		return "yes", nil
	}
	return "-", nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := append(strings.SplitN(lines.Text(), " ", 3), "", "")
		said, err := answer(words[0], words[1], words[2])
		if err != nil {
			said = "error: " + err.Error()
		}
		fmt.Println("=", strings.Join(strings.Fields(fmt.Sprint(said)), " "))
	}
}
