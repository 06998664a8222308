// The live connection: typed events, and the rooms that are watched again after every reconnect.
import { io, type Socket } from "socket.io-client";
import type { Wire } from "../model/wire_types";

interface ServerToPage {
  event: (event: Wire<"Event">) => void;
  job: (job: Wire<"JobView">) => void;
  worker: (worker: Wire<"WorkerView">) => void;
  dataset: (dataset: Wire<"DatasetView">) => void;
  gone: (what: { kind: "job" | "dataset"; id: number }) => void;
  queue: (queue: Wire<"QueueView">) => void;
}

type Ack = (answer: { ok?: boolean; error?: string }) => void;

interface PageToServer {
  watch: (room: { job: number }, ack: Ack) => void;
  unwatch: (room: { job: number }, ack: Ack) => void;
  watch_queue: (nothing: Record<string, never>, ack: Ack) => void;
}

export type LiveSocket = Socket<ServerToPage, PageToServer>;

/** One connection for the whole page; it reconnects by itself, at most 5 s apart. */
export function openSocket(): LiveSocket {
  return io({ path: "/socket.io", reconnectionDelay: 300, reconnectionDelayMax: 5000, timeout: 8000 });
}
