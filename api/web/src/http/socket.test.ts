import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveSocket } from "./socket";

class Line {
  static readonly all: Line[] = [];
  readonly sent: string[] = [];
  isClosed = false;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor() {
    Line.all.push(this);
  }

  send(packet: string): void {
    this.sent.push(packet);
  }

  close(): void {
    this.isClosed = true;
  }

  hear(...packets: string[]): void {
    for (const data of packets) this.onmessage?.({ data });
  }
}

const OPEN = '0{"sid":"a","pingInterval":10000,"pingTimeout":20000}';

describe("LiveSocket", () => {
  beforeEach(() => {
    Line.all.length = 0;
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", Line);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const opened = (onHeard = (): void => undefined): [LiveSocket, Line] => {
    const socket = new LiveSocket("ws://here", onHeard);
    const line = Line.all[0] as Line;
    line.hear(OPEN, '40{"sid":"b"}');
    return [socket, line];
  };

  it("opens, answers pings and tells what it hears", () => {
    const heard = vi.fn();
    const [socket, line] = opened(heard);
    const jobs = vi.fn();
    socket.on("job", jobs);
    expect(socket.connected).toBe(true);
    line.hear("2", '42["job",{"id":3,"name":"kick [1]"}]');
    expect(line.sent).toEqual(["40", "3"]);
    expect(jobs).toHaveBeenCalledWith({ id: 3, name: "kick [1]" });
    expect(heard).toHaveBeenCalledTimes(4);
    socket.off("job", jobs);
    line.hear('42["job",{}]');
    expect(jobs).toHaveBeenCalledTimes(1);
  });

  it("matches answers to what was asked", () => {
    const [socket, line] = opened();
    const first = vi.fn();
    const second = vi.fn();
    socket.emit("watch", { job: 7 }, first);
    socket.emit("watch", { job: 8 }, second);
    expect(line.sent.slice(1)).toEqual(['420["watch",{"job":7}]', '421["watch",{"job":8}]']);
    line.hear('431[{"ok":true}]', '430[{"error":"no"}]');
    expect(first).toHaveBeenCalledWith({ error: "no" });
    expect(second).toHaveBeenCalledWith({ ok: true });
  });

  it("comes back after a loss, and says nothing into the void", () => {
    const [socket, line] = opened();
    const lost = vi.fn();
    const back = vi.fn();
    socket.on("disconnect", lost);
    socket.on("connect", back);
    line.onclose?.();
    expect(lost).toHaveBeenCalledTimes(1);
    expect(socket.connected).toBe(false);
    socket.emit("watch", { job: 7 }, vi.fn());
    vi.advanceTimersByTime(500);
    expect(Line.all).toHaveLength(2);
    Line.all[1]?.hear(OPEN, '40{"sid":"c"}');
    expect(back).toHaveBeenCalledTimes(1);
    expect(Line.all[1]?.sent).toEqual(["40"]);
  });

  it("tells of every try that came to nothing, since the login may have ended", () => {
    const [socket, line] = opened();
    const lost = vi.fn();
    socket.on("disconnect", lost);
    line.onclose?.();
    vi.advanceTimersByTime(500);
    Line.all[1]?.onclose?.();
    expect(lost).toHaveBeenCalledTimes(2);
  });

  it("tries at most some seconds apart while nobody answers", () => {
    opened();
    for (let round = 0; round < 12; round += 1) {
      Line.all.at(-1)?.onclose?.();
      vi.advanceTimersByTime(7500);
    }
    expect(Line.all).toHaveLength(13);
  });

  it("gives up a line that fell silent", () => {
    const [socket, line] = opened();
    vi.advanceTimersByTime(29_000);
    line.hear("2");
    vi.advanceTimersByTime(29_000);
    expect(socket.connected).toBe(true);
    vi.advanceTimersByTime(1_500);
    expect(socket.connected).toBe(false);
    expect(line.isClosed).toBe(true);
  });

  it("ends where the server refuses", () => {
    const socket = new LiveSocket("ws://here", () => undefined);
    Line.all[0]?.hear(OPEN, '44{"message":"not for you"}');
    expect(socket.connected).toBe(false);
    expect(Line.all[0]?.isClosed).toBe(true);
  });
});
