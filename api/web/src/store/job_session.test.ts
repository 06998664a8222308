import { beforeEach, describe, expect, it, vi } from "vitest";
import { wireEvent, wireJob } from "../model/fixtures";
import type { Wire } from "../model/wire_types";

/** Stands in for the live connection: what the page listens to and emits. */
const live = vi.hoisted(() => ({ listeners: new Map<string, (value: never) => void>(), emitted: [] as string[], open: [] as (() => void)[] }));
vi.mock("./live", () => ({
  socket: {
    on: (name: string, listener: (value: never) => void) => live.listeners.set(name, listener),
    off: (name: string) => live.listeners.delete(name),
    emit: (name: string, _room: unknown, ack: (answer: object) => void) => {
      live.emitted.push(name);
      ack({ ok: true, last: 0 });
    },
  },
  onConnection: (action: () => void) => {
    live.open.push(action);
    action();
    return () => undefined;
  },
}));

const { METRICS } = await import("./metric_columns");
const { JobSession, mergeEpochs } = await import("./job_session");
const { jobs } = await import("./queue");
const { toJob } = await import("../model/job");

const epoch = (number: number): Wire<"EpochMetrics"> => ({
  type: "epoch", epoch: number, epochs: 10, step: number * 10, total_steps: 100, train_loss: 1 / number, val_loss: null,
  train_reconstruction: null, val_reconstruction: null, val_kl: null, kl_divergence: null, kl_per_dimension: [],
  active_units: 0, latent_dim: 0, overfitting_gap: null, quality: null, best: false, elapsed_s: 1, eta_s: null, device_memory_bytes: null,
});
const steps = (first: number): Wire<"StepMetrics"> => ({
  type: "steps", step: [first, first + 1], epoch: [1, 1], loss: [2, null], reconstruction: [1, 1], kl: [1, 1], kl_weight: [0, 0],
  learning_rate: [1e-3, 1e-3], grad_norm: [1, 1], step_time_s: [0.1, 0.1], total_steps: 100,
});

const recorded: Wire<"Event">[] = [];
/** Requests for the history. */
let histories = 0;

/** What the api makes of what is recorded. */
function history(): Wire<"HistoryView"> {
  const blocks = recorded.flatMap(({ body, at }) => (body.type === "steps" ? [{ ...body, at }] : []));
  const curve = (name: (typeof METRICS)[number]) => ({ last: blocks.flatMap((block) => block[name]), min: [] as number[], max: [] as number[] });
  const step = blocks.flatMap((block) => block.step);
  return {
    ...(Object.fromEntries(METRICS.map((name) => [name, curve(name)])) as Record<(typeof METRICS)[number], Wire<"CurveView">>),
    stride: 1, step, epoch: step.map(() => 1), at: step.map(() => 1), newest_step: step.at(-1) ?? 0, last: recorded.length,
    epochs: recorded.flatMap(({ body }) => (body.type === "epoch" ? [body] : [])),
  };
}
beforeEach(() => {
  recorded.length = 0;
  live.emitted.length = 0;
  histories = 0;
  vi.stubGlobal("fetch", vi.fn(async (url: string) => {
    const address = new URL(url, "http://page");
    const after = Number(address.searchParams.get("after"));
    if (address.pathname.endsWith("/history")) histories += 1;
    const types = address.searchParams.get("types");
    const body = address.pathname.endsWith("/history") ? history()
      : address.pathname.endsWith("/events") && types
      ? { events: recorded.filter(({ number, body: { type } }) => number > after && types.split(",").includes(type)), last: recorded.length }
      : address.pathname.endsWith("/events")
      ? { events: recorded.filter(({ number }) => number > after), last: recorded.length }
      : address.pathname.endsWith("/previews") ? { previews: [] }
      : address.pathname.endsWith("/checkpoints") ? { checkpoints: [] }
      : { ...wireJob(), train: null, features: null, preset_differences: {}, versions: {} };
    return new Response(JSON.stringify(body));
  }));
});

describe("JobSession", () => {
  it("has its job among all, so that a change is known as one before the lists are there, and leaves a newer view", async () => {
    jobs.value = new Map();
    const session = new JobSession(1);
    await session.refreshDetail();
    expect(jobs.value.get(1)?.state).toBe(wireJob().state);
    const newer = { ...toJob(wireJob()), state: "failed" as const };
    jobs.value = new Map([[1, newer]]);
    await session.refreshDetail();
    expect(jobs.value.get(1)).toBe(newer);
    session.close();
  });

  it("watches first, reads the history, then applies live events and fills a gap", async () => {
    recorded.push(wireEvent(1, steps(1)), wireEvent(2, epoch(1)));
    const session = new JobSession(1);
    session.open();
    await vi.waitFor(() => expect(session.caughtUp.value).toBe(true));
    expect(live.emitted[0]).toBe("watch");
    expect(session.metrics.length).toBe(2);
    expect(session.epochs.value).toHaveLength(1);

    recorded.push(wireEvent(3, steps(3)), wireEvent(4, steps(5)));
    live.listeners.get("event")?.(wireEvent(4, steps(5)) as never);
    await vi.waitFor(() => expect(session.metrics.length).toBe(6));
    expect([...session.metrics.step.subarray(0, 6)]).toEqual([1, 2, 3, 4, 5, 6]);
    session.close();
    expect(live.emitted.at(-1)).toBe("unwatch");
  });

  it("reads on from its last event after a reconnection", async () => {
    recorded.push(wireEvent(1, steps(1)));
    const session = new JobSession(1);
    session.open();
    await vi.waitFor(() => expect(session.caughtUp.value).toBe(true));
    recorded.push(wireEvent(2, steps(3)));
    live.open.at(-1)?.();
    await vi.waitFor(() => expect(session.metrics.length).toBe(4));
    expect(histories).toBe(1);
    session.close();
  });

  it("reads the lines of the log beside the history, and adds live ones", async () => {
    recorded.push(wireEvent(1), wireEvent(2, steps(1)), wireEvent(3));
    const session = new JobSession(1);
    session.open();
    await vi.waitFor(() => expect(session.caughtUp.value).toBe(true));
    live.listeners.get("event")?.(wireEvent(4) as never);
    expect(session.log.lines.value.map(({ number }) => number)).toEqual([1, 3, 4]);
    session.close();
  });

  it("leaves out what an attempt sends after a newer one began", async () => {
    const session = new JobSession(1);
    session.open();
    await vi.waitFor(() => expect(session.caughtUp.value).toBe(true));
    live.listeners.get("event")?.({ ...wireEvent(1, steps(1)), attempt: 2 } as never);
    live.listeners.get("event")?.({ ...wireEvent(2, steps(3)), attempt: 1 } as never);
    expect([...session.metrics.step.subarray(0, session.metrics.length)]).toEqual([1, 2]);
    session.close();
  });

  it("ignores the events of other jobs", async () => {
    const session = new JobSession(1);
    session.open();
    await vi.waitFor(() => expect(session.caughtUp.value).toBe(true));
    live.listeners.get("event")?.({ ...wireEvent(1, steps(1)), job_id: 2 } as never);
    expect(session.metrics.length).toBe(0);
    session.close();
  });
});

describe("mergeEpochs", () => {
  it("replaces what a resumed run repeats", () => {
    const merged = mergeEpochs([epoch(1), epoch(2), epoch(3)], [{ ...epoch(2), train_loss: 9 }]);
    expect(merged.map((one) => [one.epoch, one.train_loss])).toEqual([[1, 1], [2, 9]]);
  });
});
