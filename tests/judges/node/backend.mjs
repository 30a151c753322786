// Runway's own handler of backend tools, unchanged, in a process that ends with its stdin.
import { createRpcHandler } from "@runwayml/avatars-node-rpc";
import { createInterface } from "node:readline";

const tell = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);
const lines = createInterface({ input: process.stdin });
let handler;

tell({ kind: "ready" });
for await (const line of lines) {
  const { sessionId } = JSON.parse(line);
  handler = await createRpcHandler({
    apiKey: process.env.RUNWAYML_API_SECRET,
    baseUrl: process.env.RUNWAYML_BASE_URL,
    sessionId,
    onError: (error) => tell({ kind: "error", message: error.message }),
    tools: {
      weather: async (args) => {
        tell({ kind: "called", args });
        return { city: args.city, celsius: 21 };
      },
      broken: async () => {
        throw new Error("no such city");
      },
      slow: () => new Promise(() => {}),
    },
  });
  tell({ kind: "connected" });
}
await handler?.close();
process.exit(0);
