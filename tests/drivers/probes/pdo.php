<?php
// By the snippet's own PDO: one line in, one line out.
$open = [];
$kept = [];

function answer($verb, $name, $rest) {
    global $open, $kept;
    if ($verb === 'open') {
        $open[$name] = CONNECT;
        return '-';
    }
    $connection = $open[$name];
    switch ($verb) {
        case 'do':
            $rows = $connection->query($rest);
            return $rows->columnCount() ? $rows->fetchColumn() : '-';
        case 'ask':
            $query = $connection->prepare('SELECT 6 * ?::int');
            $query->execute([7]);
            return $query->fetchColumn();
        case 'named':
            $kept[$name] ??= $connection->prepare('SELECT 5 + 6 * ?::int - 5', [PDO::PGSQL_ATTR_DISABLE_PREPARES => false]);
            $kept[$name]->execute([7]);
            return $kept[$name]->fetchColumn();
        case 'cursor':
            $connection->beginTransaction();
            $query = $connection->prepare("SELECT generate_series(1, $rest)", [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
            $query->execute();
            for ($count = 0; $query->fetch() !== false; $count++);
            $connection->commit();
            return $count;
        case 'big': return count($connection->query("SELECT generate_series(1, $rest)")->fetchAll());
        case 'copy':
            $connection->beginTransaction();
            $connection->exec('CREATE TEMP TABLE copied (n int) ON COMMIT DROP');
            $connection->pgsqlCopyFromArray('copied', array_map('strval', range(1, (int) $rest)));
            $count = count($connection->pgsqlCopyToArray('copied'));
            $connection->commit();
            return $count;
        case 'heard':
            return $connection->pgsqlGetNotify(PDO::FETCH_ASSOC, 500) ? 'yes' : 'no';
    }
    return $verb === 'cancel' ? 'none' : '-';
}
while (($line = fgets(STDIN)) !== false) {
    [$verb, $name, $rest] = explode(' ', rtrim($line, "\n"), 3) + ['', '', ''];
    try { $said = (string) answer($verb, $name, $rest); } catch (Throwable $error) { $said = 'error: ' . $error->getMessage(); }
    echo '= ', preg_replace('/\s+/', ' ', $said), "\n";
}
