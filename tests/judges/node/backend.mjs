// Runway's own package for backends, unchanged, answers a session's tools.

import { createRpcHandler } from "@runwayml/avatars-node-rpc";

const tell = (kind, data = {}) => console.log(JSON.stringify({ kind, ...data }));

const tools = {
  async plain({ article }) {
    return { article, price: 10 };
  },
  async failing() {
    throw new Error("there is no such article");
  },
  async slow() {
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    return {};
  },
};

tell("ready");
process.stdin.on("end", () => process.exit());
process.stdin.once("data", async (line) => {
  const { apiKey, baseUrl, sessionId } = JSON.parse(line);
  try {
    await createRpcHandler({
      apiKey,
      baseUrl,
      sessionId,
      tools,
      onConnected: () => tell("connected"),
      onDisconnected: () => tell("disconnected"),
    });
  } catch (error) {
    tell("failed", { error: String(error) });
  }
});
