// @hocuspocus/server as its documentation starts it, nothing stored: node hocuspocus.mjs <port>
// COLD: file with the state of every document whose name begins with "cold". TOKENS: who has none of these is refused,
// "read" among them may only read. PLANTED: a bug of planted.mjs.
import { readFileSync } from "node:fs";
import { Server } from "@hocuspocus/server";
import * as Y from "yjs";
import { planted } from "./planted.mjs";

const { COLD, TOKENS, PLANTED } = process.env;
const cold = COLD && readFileSync(COLD);
const tokens = TOKENS?.split(",");
const hooks = {
  ...(cold && { onLoadDocument: async ({ document, documentName }) => documentName.startsWith("cold") && Y.applyUpdate(document, cold) }),
  ...(tokens && {
    onAuthenticate: async ({ token, connectionConfig }) => {
      if (!tokens.includes(token)) throw Object.assign(new Error("refused"), { reason: "permission-denied" });
      connectionConfig.readOnly = token === "read";
    },
  }),
  ...(PLANTED && {
    connected: async ({ connection }) => {
      const send = connection.send.bind(connection);
      connection.send = (message) => planted(PLANTED, message, 1 + message[0], send);
    },
  }),
};
await new Server({ port: Number(process.argv[2]), address: "127.0.0.1", quiet: true, ...hooks }).listen();
