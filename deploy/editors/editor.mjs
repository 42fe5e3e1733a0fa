// Many editors in one process. Commands are JSON lines on stdin, answers and events JSON lines on stdout.
// Positions count UTF-16 units, as JavaScript does. driver.py is the client and says what each command does.
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import * as Y from "yjs";
import { WebsocketProvider as WebsocketProvider3 } from "y-websocket";
import { WebsocketProvider as WebsocketProvider2 } from "y-websocket-2";
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { yXmlFragmentToProsemirrorJSON } from "y-prosemirror";

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const clients = new Map();
const sockets = new Map();
const WAIT_MS = 10;
const OFFLINE_MS = 5000;
const pause = () => new Promise((done) => setTimeout(done, WAIT_MS));

/** The ws class as providers construct it, with what a browser would send and the subprotocols asked for. */
function socketClass({ headers = {}, protocols = [] }) {
  return class extends WebSocket {
    constructor(url, own) {
      const wanted = own?.length ? own : protocols;
      super(url, wanted.length ? wanted : undefined, { headers, perMessageDeflate: false });
      this.on("error", () => {}); // in a browser an error nobody listens to is none
    }
  };
}

/** Documents without an editor: what a plain binding does to `content` or to the fragment `default`. */
const plain = {
  text: {
    of: (doc) => doc.getText("content"),
    type: (text, { at, text: inserted, attributes }) => text.insert(place(at, text.length), inserted, attributes),
    delete: (text, { at, length }) => text.delete(at, length),
    format: (text, { at, length, attributes }) => text.format(at, length, attributes),
    text: (text) => text.toString(),
    json: () => null,
  },
  prosemirror: {
    of: (doc) => doc.getXmlFragment("default"),
    type: (root, { block, at, text, attributes }) => {
      const run = textOf(root, block);
      run.insert(place(at, run.length), text, attributes);
    },
    delete: (root, { block, at, length }) => textOf(root, block).delete(at, length),
    format: (root, { block, at, length, attributes }) => textOf(root, block).format(at, length, attributes),
    insertBlock: (root, { at, node }) => root.insert(place(at, root.length), [element(node)]),
    deleteBlock: (root, { at }) => root.delete(at, 1),
    setAttributes: (root, { block, attributes }) =>
      Object.entries(attributes).forEach(([name, value]) => root.get(block).setAttribute(name, value)),
    text: (root) => root.toArray().map(words).join("\n"),
    json: (root) => yXmlFragmentToProsemirrorJSON(root),
  },
};

const place = (at, length) => (at === undefined || at === "end" ? length : at);

/** The first run of text of a top-level block, made if there is none. */
function textOf(root, block) {
  let found = root.get(place(block, root.length - 1));
  if (!found) throw new Error(`there is no block ${block} among ${root.length}`);
  while (found instanceof Y.XmlElement) {
    if (!found.length) found.insert(0, [new Y.XmlText()]);
    found = found.get(0);
  }
  return found;
}

function words(node) {
  if (node instanceof Y.XmlText) return node.toDelta().map(({ insert }) => (typeof insert === "string" ? insert : "")).join("");
  return node.toArray().map(words).join("");
}

/** ProseMirror JSON as y-prosemirror writes it: null attributes left out, neighbouring text nodes one XmlText. */
function element({ type, attrs = {}, content = [] }) {
  const made = new Y.XmlElement(type);
  for (const [name, value] of Object.entries(attrs)) if (value !== null) made.setAttribute(name, value);
  const children = [];
  let run = null;
  for (const node of content) {
    if (node.type !== "text") {
      children.push(element(node));
      run = null;
      continue;
    }
    if (!run) children.push((run = []));
    run.push({ insert: node.text, attributes: Object.fromEntries((node.marks ?? []).map((m) => [m.type, m.attrs ?? {}])) });
  }
  made.insert(0, children.map((child) => (Array.isArray(child) ? written(child) : child)));
  return made;
}

function written(delta) {
  const text = new Y.XmlText();
  text.applyDelta(delta);
  return text;
}

/** A headless TipTap editor: the same operations through ProseMirror transactions. */
const tiptap = {
  type: (editor, { block, at, text }) => {
    const [start, node] = blockAt(editor, block);
    editor.view.dispatch(editor.state.tr.insertText(text, inside(start, node) + place(at, node.textContent.length)));
  },
  delete: (editor, { block, at, length }) => {
    const [start, node] = blockAt(editor, block);
    const from = inside(start, node) + at;
    editor.view.dispatch(editor.state.tr.delete(from, from + length));
  },
  format: (editor, { block, at, length, attributes }) => {
    const [start, node] = blockAt(editor, block);
    const from = inside(start, node) + at;
    const { tr, schema } = editor.state;
    for (const [mark, value] of Object.entries(attributes)) {
      if (value === null) tr.removeMark(from, from + length, schema.marks[mark]);
      else tr.addMark(from, from + length, schema.marks[mark].create(value));
    }
    editor.view.dispatch(tr);
  },
  insertBlock: (editor, { at, node }) => {
    const count = editor.state.doc.childCount;
    const where = place(at, count) >= count ? editor.state.doc.content.size : blockAt(editor, at)[0];
    editor.view.dispatch(editor.state.tr.insert(where, editor.schema.nodeFromJSON(node)));
  },
  deleteBlock: (editor, { at }) => {
    const [start, node] = blockAt(editor, at);
    editor.view.dispatch(editor.state.tr.delete(start, start + node.nodeSize));
  },
  setAttributes: (editor, { block, attributes }) => {
    const [start, node] = blockAt(editor, block);
    editor.view.dispatch(editor.state.tr.setNodeMarkup(start, undefined, { ...node.attrs, ...attributes }));
  },
};

function blockAt(editor, block) {
  const { doc } = editor.state;
  const wanted = place(block, doc.childCount - 1);
  if (wanted >= doc.childCount) throw new Error(`there is no block ${wanted} among ${doc.childCount}`);
  let start = 0;
  for (let n = 0; n < wanted; n++) start += doc.child(n).nodeSize;
  return [start, doc.child(wanted)];
}

/** Position of the first text in a block, lists and tables included. */
function inside(start, node) {
  let position = start + 1;
  while (!node.isTextblock && node.firstChild) {
    node = node.firstChild;
    position += 1;
  }
  return position;
}

let tools = null;

/** TipTap needs a DOM: one for all editors, made when the first asks for it. */
async function tiptapTools() {
  if (tools) return tools;
  const { JSDOM } = await import("jsdom");
  const { window } = new JSDOM("<!doctype html><body></body>", { pretendToBeVisual: true });
  const names = [
    "window", "document", "navigator", "Node", "Element", "HTMLElement", "Text", "DOMParser", "MutationObserver", "getComputedStyle",
    "requestAnimationFrame", "cancelAnimationFrame", "getSelection", "Range", "KeyboardEvent", "InputEvent", "DocumentFragment",
  ];
  for (const name of names) globalThis[name] ??= name === "window" ? window : window[name];
  const [core, starter, table, list, item, image, highlight, collaboration] = await Promise.all([
    import("@tiptap/core"), import("@tiptap/starter-kit"), import("@tiptap/extension-table"),
    import("@tiptap/extension-task-list"), import("@tiptap/extension-task-item"), import("@tiptap/extension-image"),
    import("@tiptap/extension-highlight"), import("@tiptap/extension-collaboration"),
  ]);
  const extensions = [
    starter.default.configure({ undoRedo: false }), table.TableKit, list.default, item.default.configure({ nested: true }),
    image.default, highlight.default.configure({ multicolor: false }),
  ];
  tools = { Editor: core.Editor, Collaboration: collaboration.default, extensions };
  return tools;
}

class Client {
  constructor(name, options) {
    this.name = name;
    this.options = options;
    this.kind = options.flavour === "tiptap" ? "prosemirror" : options.kind ?? "text";
    this.flavour = options.flavour === "tiptap" ? options.provider ?? "hocuspocus" : options.flavour;
    this.unsynced = 0;
    this.status = "disconnected";
    this.requests = new Map();
    this.doc = new Y.Doc();
    if (options.clientID !== undefined) this.doc.clientID = options.clientID;
    if (options.state) Y.applyUpdate(this.doc, bytes(options.state), "preloaded");
    this.root = plain[this.kind].of(this.doc);
  }

  emit(event, more = {}) {
    say({ event, client: this.name, ...more });
  }

  async open() {
    const { options } = this;
    if (this.flavour === "hocuspocus") this.openHocuspocus();
    else if (this.flavour === "y-websocket-3") this.openWebsocket(WebsocketProvider3);
    else if (this.flavour === "y-websocket-2") this.openWebsocket(WebsocketProvider2);
    else throw new Error(`no such flavour: ${this.flavour}`);
    this.provider.awareness.on("change", () => this.emit("awareness", { states: this.presence() }));
    if (options.flavour === "tiptap") {
      const { Editor, Collaboration, extensions } = await tiptapTools();
      const collaboration = Collaboration.configure({ document: this.doc, field: "default", provider: this.provider });
      this.editor = new Editor({
        element: document.createElement("div"), extensions: [...extensions, collaboration], enableContentCheck: true,
        onContentError: ({ error }) => this.emit("error", { error: `content: ${error.message}` }),
      });
    }
    if (options.connect !== false) this.online();
    return { clientID: this.doc.clientID };
  }

  openWebsocket(Provider) {
    const { url, document, params = {}, protocols = [], backoff } = this.options;
    const provider = new Provider(url, document, this.doc, {
      connect: false, params, protocols, WebSocketPolyfill: socketClass(this.options), disableBc: true,
      ...(backoff ? { maxBackoffTime: backoff } : {}),
    });
    this.provider = provider;
    provider.messageHandlers[2] = (_encoder, decoder) => {
      const reason = new TextDecoder().decode(decoder.arr.subarray(decoder.pos + 2));
      this.emit("authfailed", { reason });
    };
    provider.on("status", ({ status }) => this.tellStatus(status));
    provider.on("sync", (synced) => this.emit("synced", { synced }));
    provider.on("connection-close", (event) => this.tellClose(event));
    provider.on("closed", ({ code, reason }) => this.emit("closed", { code, reason }));
    provider.on("connection-error", (event) => this.emit("refused", { reason: String(event?.message ?? event) }));
  }

  openHocuspocus() {
    const { document, token, askToken, socket } = this.options;
    this.provider = new HocuspocusProvider({
      name: document, document: this.doc, websocketProvider: this.socketFor(socket),
      token: askToken ? () => this.askToken() : () => this.token ?? token ?? "",
      onSynced: () => this.emit("synced", { synced: true }),
      onStatus: ({ status }) => this.tellStatus(status),
      onClose: ({ event }) => this.tellClose(event),
      onAuthenticated: ({ scope }) => this.emit("authenticated", { scope }),
      onAuthenticationFailed: ({ reason }) => this.emit("authfailed", { reason }),
      onStateless: ({ payload }) => this.emit("stateless", { payload }),
      onUnsyncedChanges: ({ number }) => {
        this.unsynced = number;
        this.emit("unsynced", { number });
      },
    });
    this.provider.attach();
  }

  /** Its own socket, or the one all clients of that name share. */
  socketFor(name) {
    if (name !== undefined && sockets.has(name)) return sockets.get(name);
    const { url, params = {}, backoff } = this.options;
    const query = new URLSearchParams(params).toString();
    const made = new HocuspocusProviderWebsocket({
      url: query ? `${url}?${query}` : url, WebSocketPolyfill: socketClass(this.options), autoConnect: false,
      ...(backoff ? { delay: backoff, minDelay: backoff, maxDelay: backoff } : {}),
    });
    if (name !== undefined) sockets.set(name, made);
    return made;
  }

  tellStatus(status) {
    this.status = status;
    this.emit("status", { status });
  }

  tellClose(event) {
    this.emit("disconnected", { code: event?.code ?? null, reason: event?.reason?.toString() ?? "" });
  }

  askToken() {
    const request = crypto.randomUUID();
    const answered = new Promise((resolve, reject) => this.requests.set(request, { resolve, reject }));
    this.emit("token?", { request });
    return answered;
  }

  online() {
    if (this.flavour !== "hocuspocus") return this.provider.connect();
    const socket = this.provider.configuration.websocketProvider;
    if (socket.status === "disconnected") void socket.connect(); // else the attempt on its way would begin anew
  }

  /** Answers once it is so: Hocuspocus ignores a connect while it still disconnects. */
  async offline() {
    if (this.flavour !== "hocuspocus") return this.provider.disconnect();
    const socket = this.provider.configuration.websocketProvider;
    socket.disconnect();
    for (const end = Date.now() + OFFLINE_MS; socket.status !== "disconnected" && Date.now() < end; ) await pause();
  }

  presence() {
    return Object.fromEntries(this.provider.awareness.getStates());
  }

  edit(command, options) {
    const { editor } = this;
    const known = editor ? tiptap[command] : plain[this.kind][command];
    if (!known) throw new Error(`a ${this.kind} document has no ${command}`);
    if (editor) known(editor, options);
    else this.doc.transact(() => known(this.root, options));
  }

  text() {
    return plain[this.kind].text(this.root);
  }

  get synced() {
    return Boolean(this.provider.synced);
  }

  read() {
    return {
      text: this.text(),
      json: plain[this.kind].json(this.root),
      pm: this.editor?.getJSON() ?? null,
      stateVector: base64(Y.encodeStateVector(this.doc)),
      state: base64(Y.encodeStateAsUpdate(this.doc)),
      pending: this.doc.store.pendingStructs !== null,
      synced: this.synced,
      status: this.status,
      unsynced: this.unsynced,
    };
  }

  holds(until) {
    const text = this.text();
    const checks = {
      contains: (part) => text.split(part).length - 1 >= 1,
      count: (number) => until.contains !== undefined && text.split(until.contains).length - 1 === number,
      equals: (whole) => text === whole,
      synced: (wanted) => this.synced === wanted,
      status: (wanted) => this.status === wanted,
      unsynced: (wanted) => this.unsynced === wanted,
      awareness: (wanted) => this.provider.awareness.getStates().size === wanted,
    };
    return Object.entries(until).every(([name, value]) => checks[name](value));
  }

  async wait(until, ms) {
    const end = Date.now() + ms;
    while (!this.holds(until)) {
      if (Date.now() >= end) {
        const { text, synced, status, unsynced } = this.read();
        const found = { text: text.slice(-500), synced, status, unsynced, awareness: this.provider.awareness.getStates().size };
        throw new Error(`not within ${ms} ms: ${JSON.stringify(until)}; it is ${JSON.stringify(found)}`);
      }
      await pause();
    }
    return {};
  }

  close() {
    this.editor?.destroy();
    this.provider.destroy();
    if (this.flavour === "hocuspocus" && this.options.socket === undefined) this.provider.configuration.websocketProvider.destroy();
    this.doc.destroy();
  }

  raw(message) {
    const socket = this.flavour === "hocuspocus" ? this.provider.configuration.websocketProvider.webSocket : this.provider.ws;
    socket.send(bytes(message));
  }
}

const EDITS = ["type", "delete", "format", "insertBlock", "deleteBlock", "setAttributes"];
const commands = {
  wait: (client, { until, ms }) => client.wait(until, ms),
  read: (client) => client.read(),
  offline: (client) => client.offline(),
  online: (client) => client.online(),
  raw: (client, { message }) => client.raw(message),
  apply: (client, { update }) => Y.applyUpdate(client.doc, bytes(update)),
  params: (client, { params }) => {
    client.options.params = params;
    client.provider.params = params;
    if (client.flavour !== "hocuspocus") return;
    const query = new URLSearchParams(params).toString();
    client.provider.configuration.websocketProvider.setConfiguration({ url: `${client.options.url}?${query}` });
  },
  token: (client, { request, token, error }) => {
    const asked = client.requests.get(request);
    if (!asked) throw new Error(`nobody asked for token ${request}`);
    client.requests.delete(request);
    if (error === undefined) asked.resolve(token);
    else asked.reject(new Error(error));
  },
  setToken: (client, { token, send }) => {
    client.token = token;
    return send ? client.provider.sendToken() : undefined;
  },
  setAwareness: (client, { state }) => client.provider.awareness.setLocalState(state),
  setAwarenessField: (client, { field, value }) => client.provider.awareness.setLocalStateField(field, value),
  readAwareness: (client) => ({ clientID: client.doc.clientID, states: client.presence() }),
  stateless: (client, { payload }) => client.provider.sendStateless(payload),
  run: (client, { steps }) => ({ done: steps.map(([name, ...given]) => client.editor.commands[name](...given)) }),
  close: (client) => {
    clients.delete(client.name);
    client.close();
  },
};
for (const name of EDITS) commands[name] = (client, options) => client.edit(name, options);

async function obey({ command, client: name, ...options }) {
  if (command === "open") {
    const client = new Client(name, options);
    clients.set(name, client);
    return client.open();
  }
  const client = clients.get(name);
  if (!client) throw new Error(`there is no client ${name}`);
  if (!commands[command]) throw new Error(`there is no command ${command}`);
  return commands[command](client, options);
}

process.on("uncaughtException", (error) => say({ event: "error", client: null, error: error.stack }));
process.on("unhandledRejection", (error) => say({ event: "error", client: null, error: error?.stack ?? String(error) }));
console.log = console.info = console.warn = console.error;

const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
input.on("close", () => process.exit(0));
input.on("line", async (line) => {
  const { id, ...command } = JSON.parse(line);
  try {
    say({ id, ok: true, ...((await obey(command)) ?? {}) });
  } catch (error) {
    say({ id, ok: false, error: error.message });
  }
});
say({ event: "ready", client: null });
