import { describe, expect, it, vi } from "vitest";
import { wireEvent } from "../model/fixtures";
import { EventFollower, type JobEvent } from "./event_follower";

/** A record of events 1 … n that can grow, and a follower of it. */
function following(recorded: number, options: { pageSize?: number } = {}) {
  const record = { last: recorded };
  const applied: number[] = [];
  const fetchPage = vi.fn(async (after: number, limit: number) => {
    const end = Math.min(record.last, after + Math.min(limit, options.pageSize ?? limit));
    const events: JobEvent[] = [];
    for (let number = after + 1; number <= end; number += 1) events.push(wireEvent(number));
    return { events, last: record.last };
  });
  const onError = vi.fn();
  const follower = new EventFollower({
    fetchPage,
    apply: (events) => applied.push(...events.map(({ number }) => number)),
    onError,
    wait: async () => undefined,
    now: () => 0,
  });
  return { follower, applied, record, fetchPage, onError };
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

describe("EventFollower", () => {
  it("reads the history in pages", async () => {
    const { follower, applied, fetchPage } = following(7, { pageSize: 3 });
    await follower.catchUp();
    expect(applied).toEqual(upTo(7));
    expect(fetchPage.mock.calls.map(([after]) => after)).toEqual([0, 3, 6]);
  });

  it("applies live events that follow on, without asking", async () => {
    const { follower, applied, fetchPage } = following(2);
    await follower.catchUp();
    fetchPage.mockClear();
    follower.receive(wireEvent(3));
    follower.receive(wireEvent(4));
    expect(applied).toEqual(upTo(4));
    expect(fetchPage).not.toHaveBeenCalled();
  });

  it("ignores what it has already", async () => {
    const { follower, applied } = following(3);
    await follower.catchUp();
    follower.receive(wireEvent(2));
    follower.receive(wireEvent(3));
    expect(applied).toEqual(upTo(3));
  });

  it("waits for what it was told of, though nothing comes live", async () => {
    const { follower, applied, record, fetchPage } = following(3);
    await follower.catchUp();
    fetchPage.mockImplementationOnce(async () => ({ events: [], last: 3 }));
    record.last = 5;
    follower.expect(5);
    await vi.waitFor(() => expect(applied).toEqual(upTo(5)));
    fetchPage.mockClear();
    follower.expect(4);
    expect(fetchPage).not.toHaveBeenCalled();
  });

  it("does not wait for ever for what never comes", async () => {
    const { follower, fetchPage } = following(3);
    await follower.catchUp();
    follower.expect(9);
    await vi.waitFor(() => expect(fetchPage.mock.calls.length).toBeGreaterThan(40));
    await follower.catchUp();
    fetchPage.mockClear();
    await follower.catchUp();
    expect(fetchPage).toHaveBeenCalledTimes(1);
  });

  it("fills a gap from the last event it has", async () => {
    const { follower, applied, record, fetchPage } = following(3);
    await follower.catchUp();
    record.last = 6;
    fetchPage.mockClear();
    follower.receive(wireEvent(6));
    await vi.waitFor(() => expect(applied).toEqual(upTo(6)));
    expect(fetchPage.mock.calls[0]?.[0]).toBe(3);
  });

  it("keeps live events aside while the history is read, and applies each once", async () => {
    const { follower, applied, record } = following(3);
    const done = follower.catchUp();
    record.last = 5;
    follower.receive(wireEvent(5));
    follower.receive(wireEvent(4));
    await done;
    expect(applied).toEqual(upTo(5));
  });

  it("waits for a record that trails the live channel", async () => {
    const { follower, applied, record, fetchPage } = following(3);
    await follower.catchUp();
    const asked = fetchPage.mock.calls.length;
    const original = fetchPage.getMockImplementation()!;
    fetchPage.mockImplementation(async (after, limit) => {
      if (fetchPage.mock.calls.length > asked + 2) record.last = 5;
      return original(after, limit);
    });
    follower.receive(wireEvent(5));
    await vi.waitFor(() => expect(applied).toEqual(upTo(5)));
  });

  it("goes on when the missing events never come", async () => {
    const { follower, applied } = following(3);
    await follower.catchUp();
    follower.receive(wireEvent(5));
    await vi.waitFor(() => expect(applied).toEqual([1, 2, 3, 5]));
    follower.receive(wireEvent(6));
    expect(applied).toEqual([1, 2, 3, 5, 6]);
  });

  it("reports a failed fetch, and catches up at the next call", async () => {
    const { follower, applied, fetchPage, onError } = following(2);
    fetchPage.mockRejectedValueOnce(new Error("away"));
    await follower.catchUp();
    expect(onError).toHaveBeenCalledOnce();
    await follower.catchUp();
    expect(applied).toEqual(upTo(2));
  });

  it("applies nothing after it is closed", async () => {
    const { follower, applied } = following(2);
    const done = follower.catchUp();
    follower.close();
    await done;
    follower.receive(wireEvent(1));
    expect(applied).toEqual([]);
  });
});
