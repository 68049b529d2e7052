// Package main names what the clients import, so that all of it is locked and compiled once.
package main

import (
	_ "github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func main() {}
