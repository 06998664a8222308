// The live connection as state: connected or not, and since when nothing was heard.
import { signal } from "@preact/signals";
import { request } from "../http/request";
import { type LiveSocket, openSocket } from "../http/socket";
import { csrf } from "../session";

export const connected = signal(false);
/** False until the first connection stands, so that a loading page does not cry "disconnected". */
export const everConnected = signal(false);
/** When the server was last heard of, in milliseconds by this browser's clock. */
export const heardAtMs = signal(Date.now());

export const socket: LiveSocket = openSocket(() => {
  heardAtMs.value = Date.now();
});

const openings = new Set<() => void>();

/** Runs `action` at every connection from now on, and at once when it stands already; gives the undoing. */
export function onConnection(action: () => void): () => void {
  openings.add(action);
  if (socket.connected) action();
  return () => {
    openings.delete(action);
  };
}

socket.on("connect", () => {
  connected.value = true;
  everConnected.value = true;
  for (const action of openings) action();
});
socket.on("disconnect", () => {
  connected.value = false;
  askWhoThisIs();
});

/** Leads to the login page where the login has ended. */
function askWhoThisIs(): void {
  if (csrf) request("/session").catch(() => undefined);
}
