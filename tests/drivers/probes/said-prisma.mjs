// Tries connections, by name and URL, and says of each what Prisma said.
import { readFileSync, writeSync } from "node:fs";
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "@prisma/client";

const found = {};
for (const [name, connectionString] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString, connectionTimeoutMillis: 3000 }) });
  try {
    await prisma.$queryRaw`SELECT 1`;
    found[name] = "";
  } catch (error) {
    found[name] = error.message;
  }
}
writeSync(1, JSON.stringify(found));
process.exit(0); // a client that throws within its login leaves its socket open
