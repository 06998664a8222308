// The live connection: what the page needs of Socket.IO (protocol 5 on Engine.IO 4), over a WebSocket.
//
// Text packets, each beginning with its kind: 0 opens (and tells how often the server pings), 2 is a ping that 3 answers,
// 4 carries Socket.IO: 40 is connected, 42 an event (with a number where an answer is wanted), 43 such an answer.
import type { Wire } from "../model/wire_types";

interface ServerToPage {
  event: (event: Wire<"Event">) => void;
  /** How far a job's events go, when some may have been missed. */
  newest: (newest: { job_id: number; number: number }) => void;
  job: (job: Wire<"JobView">) => void;
  worker: (worker: Wire<"WorkerView">) => void;
  dataset: (dataset: Wire<"DatasetView">) => void;
  gone: (what: { kind: "job" | "dataset"; id: number }) => void;
  queue: (queue: Wire<"QueueView">) => void;
  connect: () => void;
  disconnect: () => void;
}

type Ack = (answer: { ok?: boolean; error?: string; last?: number }) => void;

interface PageToServer {
  watch: { job: number };
  unwatch: { job: number };
  watch_queue: Record<string, never>;
}

const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 5000;
/** Silence that ends a connection until the server said how often it pings. */
const OPENING_MS = 8000;

/** One connection for the whole page; it comes back by itself, at most some 5 s apart. */
export class LiveSocket {
  connected = false;
  private socket: WebSocket | null = null;
  private readonly listeners = new Map<string, Set<(body: never) => void>>();
  private readonly acks = new Map<number, Ack>();
  private nextAck = 0;
  private failures = 0;
  private silentMs = OPENING_MS;
  private watchdog = 0;
  private retry = 0;

  /** `onHeard` is called for everything that comes, pings included. */
  constructor(private readonly url: string, private readonly onHeard: () => void) {
    addEventListener("online", () => {
      if (!this.socket) this.open();
    });
    this.open();
  }

  on<K extends keyof ServerToPage>(name: K, listener: ServerToPage[K]): void {
    this.listeners.set(name, (this.listeners.get(name) ?? new Set()).add(listener));
  }

  off<K extends keyof ServerToPage>(name: K, listener: ServerToPage[K]): void {
    this.listeners.get(name)?.delete(listener);
  }

  /** Says something where the connection stands: rooms are entered anew at each connection anyway. */
  emit<K extends keyof PageToServer>(name: K, body: PageToServer[K], ack: Ack): void {
    if (!this.connected) return;
    this.acks.set(this.nextAck, ack);
    this.socket?.send(`42${this.nextAck}${JSON.stringify([name, body])}`);
    this.nextAck += 1;
  }

  private open(): void {
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.silentMs = OPENING_MS;
    this.wait();
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.take(data as string);
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost();
    };
  }

  /** Gives the connection up when nothing is heard for too long: a cable that was pulled tells nothing. */
  private wait(): void {
    clearTimeout(this.watchdog);
    this.watchdog = window.setTimeout(() => this.lost(), this.silentMs);
  }

  private lost(): void {
    const { socket } = this;
    this.socket = null;
    socket?.close();
    clearTimeout(this.watchdog);
    this.acks.clear();
    this.connected = false;
    // After a try that came to nothing, too: the login may have ended meanwhile.
    this.tell("disconnect");
    // Pages that lost the same server do not all come back at the same moment.
    const ms = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures) * (0.5 + Math.random());
    this.failures += 1;
    clearTimeout(this.retry);
    this.retry = window.setTimeout(() => this.open(), ms);
  }

  private take(packet: string): void {
    this.onHeard();
    const [kind] = packet;
    if (kind === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(packet.slice(1)) as { pingInterval: number; pingTimeout: number };
      this.silentMs = pingInterval + pingTimeout;
      this.socket?.send("40");
    } else if (kind === "2") this.socket?.send("3");
    else if (kind === "4") this.message(packet[1] ?? "", packet.slice(2));
    else if (kind === "1") return this.lost();
    if (this.socket) this.wait();
  }

  private message(kind: string, text: string): void {
    if (kind === "0") {
      this.connected = true;
      this.failures = 0;
      this.tell("connect");
    } else if (kind === "2") {
      const [name, body] = JSON.parse(text) as [string, unknown];
      this.tell(name, body);
    } else if (kind === "3") {
      const digits = /^\d+/.exec(text)?.[0] ?? "";
      const ack = this.acks.get(Number(digits));
      this.acks.delete(Number(digits));
      ack?.((JSON.parse(text.slice(digits.length)) as Parameters<Ack>)[0]);
    } else this.lost();
  }

  private tell(name: string, body?: unknown): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(body as never);
  }
}

export function openSocket(onHeard: () => void): LiveSocket {
  return new LiveSocket(`${location.origin.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`, onHeard);
}
