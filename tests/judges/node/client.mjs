// Runway's own client, unchanged: it polls, consumes, and reads what it is sent.
import { FlatDeltaAccumulator, parseClientEvent, tryDecodeJSON } from "@runwayml/avatars";
import { tryParseFlatDelta, tryParseSegmentArray } from "@runwayml/avatars";
import { consumeSession, pollUntilReady } from "@runwayml/avatars/api";
import { createInterface } from "node:readline";

const tell = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);
const baseUrl = process.env.RUNWAYML_BASE_URL;
const turns = new FlatDeltaAccumulator();

async function connect({ sessionId }) {
  const apiKey = process.env.RUNWAYML_API_SECRET;
  const { sessionKey } = await pollUntilReady({ sessionId, apiKey, baseUrl });
  const credentials = await consumeSession({ sessionId, sessionKey, baseUrl });
  const again = await consumeSession({ sessionId, sessionKey, baseUrl }).catch((error) => error);
  tell({ kind: "consumed", credentials, again: again.code });
}

function read({ payload }) {
  const data = new TextEncoder().encode(payload);
  const json = tryDecodeJSON(data);
  const event = parseClientEvent(data);
  const segments = tryParseSegmentArray(json, { identity: "worker" });
  const delta = tryParseFlatDelta(json);
  const read = delta && turns.ingest(delta, "worker");
  tell({ kind: "read", event, segments, active: read?.active, finalized: read?.finalized });
}

tell({ kind: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  await (order.sessionId ? connect(order) : read(order));
}
process.exit(0);
