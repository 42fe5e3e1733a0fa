// @y/websocket-server as its own server.js starts it, nothing stored: node ywebsocket.mjs <port>
// COLD: file with the state of every document whose name begins with "cold". PLANTED: a bug of planted.mjs.
import { readFileSync } from "node:fs";
import http from "node:http";
import { setPersistence, setupWSConnection } from "@y/websocket-server/utils";
import * as Y from "@y/y"; // what the server applies updates with
import WebSocket from "ws";
import { planted } from "./planted.mjs";

const { COLD, PLANTED } = process.env;
if (COLD) {
  const cold = readFileSync(COLD);
  const bindState = (name, doc) => name.startsWith("cold") && Y.applyUpdate(doc, cold);
  setPersistence({ provider: null, bindState, writeState: async () => {} });
}
const server = http.createServer((_request, response) => response.end("okay"));
const sockets = new WebSocket.Server({ noServer: true });
sockets.on("connection", (socket, request) => {
  if (PLANTED) {
    const send = socket.send.bind(socket);
    socket.send = (message, ...rest) => planted(PLANTED, message, 0, (own) => send(own, ...rest));
  }
  setupWSConnection(socket, request);
});
server.on("upgrade", (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (client) => sockets.emit("connection", client, request));
});
server.listen(Number(process.argv[2]), "127.0.0.1");
