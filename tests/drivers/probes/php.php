<?php
// By the snippet's own pg_connect: one line in, one line out.
error_reporting(0);
$open = [];
$kept = [];

function checked($connection, $rows) {
    if ($rows === false) throw new Exception(pg_last_error($connection) ?: 'no result');
    return $rows;
}
function first($connection, $rows) {
    $rows = checked($connection, $rows);
    return pg_num_rows($rows) > 0 ? pg_fetch_result($rows, 0, 0) : '-';
}
function answer($verb, $name, $rest) {
    global $open, $kept;
    if ($verb === 'open') {
        $open[$name] = CONNECT;
        return '-';
    }
    $connection = $open[$name];
    switch ($verb) {
        case 'do': return first($connection, pg_query($connection, $rest));
        case 'ask': return first($connection, pg_query_params($connection, 'SELECT 6 * $1::int', [7]));
        case 'named':
            $kept[$name] ??= checked($connection, pg_prepare($connection, 'kept', 'SELECT 5 + 6 * $1::int - 5'));
            return first($connection, pg_execute($connection, 'kept', [7]));
        case 'cursor':
            first($connection, pg_query($connection, 'BEGIN'));
            first($connection, pg_query($connection, "DECLARE c CURSOR FOR SELECT generate_series(1, $rest)"));
            $count = pg_num_rows(checked($connection, pg_query($connection, 'FETCH ALL c')));
            first($connection, pg_query($connection, 'COMMIT'));
            return $count;
        case 'big': return pg_num_rows(checked($connection, pg_query($connection, "SELECT generate_series(1, $rest)")));
        case 'copy':
            first($connection, pg_query($connection, 'BEGIN'));
            first($connection, pg_query($connection, 'CREATE TEMP TABLE copied (n int) ON COMMIT DROP'));
            checked($connection, pg_copy_from($connection, 'copied', array_map(fn($n) => "$n\n", range(1, (int) $rest))));
            $count = count(pg_copy_to($connection, 'copied'));
            first($connection, pg_query($connection, 'COMMIT'));
            return $count;
        case 'cancel':
            pg_send_query($connection, 'SELECT pg_sleep(20)');
            usleep(300000);
            $began = microtime(true);
            pg_cancel_query($connection);
            if (microtime(true) - $began > 5) return 'it ended by itself';
            throw new Exception('canceling statement (pg_cancel_query returned)');
        case 'heard':
            usleep(300000);
            pg_query($connection, 'SELECT 1');
            return pg_get_notify($connection) ? 'yes' : 'no';
    }
    return '-';
}
while (($line = fgets(STDIN)) !== false) {
    [$verb, $name, $rest] = explode(' ', rtrim($line, "\n"), 3) + ['', '', ''];
    try { $said = (string) answer($verb, $name, $rest); } catch (Throwable $error) { $said = 'error: ' . $error->getMessage(); }
    echo '= ', preg_replace('/\s+/', ' ', $said), "\n";
}
