# What follows the settings of the snippet for ruby-pg: one line in, one line out.
$open = {}
$kept = {}

def answer(verb, name, rest)
  if verb == 'open'
    $open[name] = PG.connect(**CONNECT)
    return '-'
  end
  connection = $open[name]
  first = ->(rows) { rows.ntuples.positive? ? rows.getvalue(0, 0) : '-' }
  case verb
  when 'do' then first.(connection.exec(rest))
  when 'ask' then first.(connection.exec_params('SELECT 6 * $1::int', [7]))
  when 'named'
    $kept[name] ||= connection.prepare('kept', 'SELECT 5 + 6 * $1::int - 5')
    first.(connection.exec_prepared('kept', [7]))
  when 'cursor'
    connection.transaction do
      connection.exec("DECLARE c CURSOR FOR SELECT generate_series(1, #{rest})")
      connection.exec('FETCH ALL c').ntuples
    end
  when 'big'
    connection.send_query("SELECT generate_series(1, #{rest})")
    connection.set_single_row_mode
    count = 0
    while (rows = connection.get_result)
      rows.check
      count += rows.ntuples
    end
    count
  when 'copy'
    connection.transaction do
      connection.exec('CREATE TEMP TABLE copied (n int) ON COMMIT DROP')
      connection.copy_data('COPY copied FROM STDIN') { rest.to_i.times { |n| connection.put_copy_data("#{n}\n") } }
      first.(connection.exec('SELECT count(*) FROM copied'))
    end
  when 'cancel'
    Thread.new { sleep 0.3; connection.cancel }
    first.(connection.exec('SELECT pg_sleep(8)'))
  when 'heard' then connection.wait_for_notify(0.5) ? 'yes' : 'no'
  else '-'
  end
end

$stdout.sync = true
while (line = $stdin.gets)
  verb, name, rest = line.chomp.split(' ', 3)
  begin
    said = answer(verb, name, rest).to_s
  rescue StandardError => error
    said = "error: #{error.message}"
  end
  puts "= #{said.split.join(' ')}"
end
