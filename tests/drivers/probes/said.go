// Package main tries connections, one a line: its name and pgx's string, parted by a tab; and says of each what pgx said.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func try(database string) error {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	connection, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	return connection.Close(ctx)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name, database, _ := strings.Cut(lines.Text(), "\t")
		fmt.Printf("%s\t%s\n", name, strings.Join(strings.Fields(fmt.Sprint(try(database))), " "))
	}
}
