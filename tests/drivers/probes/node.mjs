// What follows the settings of the snippet for pg: one line in, one line out.
import { createInterface } from "node:readline";
const open = {};
const heard = {};

async function answer(verb, name, rest) {
  if (verb === "open") {
    open[name] = make();
    open[name].on("notification", () => { heard[name] = "yes"; });
    open[name].on("error", () => {});
    await open[name].connect();
    return "-";
  }
  const client = open[name];
  const first = async (query) => {
    const { rows } = await client.query(query);
    return rows.length ? Object.values(rows[0])[0] : "-";
  };
  if (verb === "do") return first(rest);
  if (verb === "ask") return first({ text: "SELECT 6 * $1::int", values: [7] });
  if (verb === "named") return first({ name: "kept", text: "SELECT 5 + 6 * $1::int - 5", values: [7] });
  if (verb === "big") return (await client.query(`SELECT generate_series(1, ${rest})`)).rows.length;
  if (verb === "cancel") {
    const query = new pg.Query("SELECT pg_sleep(20)");
    const ended = new Promise((done) => { query.on("error", done); query.on("end", () => done(new Error("it ended"))); });
    client.query(query);
    setTimeout(() => { const other = make(); other.connection.on("error", () => {}); other.cancel(client, query); }, 300);
    const limit = new Promise((done) => setTimeout(() => done(new Error("not heard")), 4000));
    throw await Promise.race([ended, limit]);
  }
  if (verb === "heard") {
    await new Promise((done) => setTimeout(done, 500));
    return heard[name] ?? "no";
  }
  return ["copy", "cursor"].includes(verb) ? "none" : "-";
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, name, ...rest] = line.split(" ");
  let said;
  try { said = String(await answer(verb, name, rest.join(" "))); } catch (error) { said = `error: ${error.message}`; }
  console.log("=", said.replace(/\s+/g, " "));
}
process.exit(0);
