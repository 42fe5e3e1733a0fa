// Bugs to plant into a server, so that whoever looks for bugs can be seen to find them; `at` is where the type stands.
const SYNC = 0;
const AWARENESS = 1;
const [STEP2, UPDATE] = [1, 2];
const NOTHING = [2, 0, 0];

const bugs = {
  /** Nobody hears of what others do. */
  mute: (message, at) => (message[at] === AWARENESS || (message[at] === SYNC && message[at + 1] === UPDATE) ? null : message),
  /** Whoever comes later gets an empty document. */
  forget: (message, at) =>
    message[at] === SYNC && message[at + 1] === STEP2 ? new Uint8Array([...message.slice(0, at + 2), ...NOTHING]) : message,
};

export function planted(name, message, at, send) {
  const own = bugs[name](message, at);
  if (own) send(own);
}
