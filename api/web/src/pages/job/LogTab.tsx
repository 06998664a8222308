import { useState } from "preact/hooks";
import { Empty, Loading } from "../../components/Notices";
import { Said } from "../../components/Said";
import { count, duration, moment } from "../../format";
import { STATES } from "../../model/states";
import type { EventBody } from "../../model/wire_types";
import type { JobEvent } from "../../store/event_follower";
import type { JobSession } from "../../store/job_session";
import { SAVED } from "./CheckpointsTab";

const SHOWN = 200;

const OUTCOMES: Readonly<Record<Extract<EventBody, { type: "attempt_ended" }>["outcome"], string>> = {
  completed: "Done", cancelled: "Stopped", paused: "Paused", handed_back: "Stopped here, to go on later or elsewhere", failed: "Failed",
  crashed: "Broke off", fenced: "Given up here, since it goes on elsewhere,",
};

interface Line {
  readonly level: "info" | "good" | "warning" | "error" | "quiet";
  readonly text: string;
  readonly detail: string;
}

/** What happened, newest first: states, attempts, warnings and the trainer's own lines. */
export function LogTab({ session }: { session: JobSession }) {
  const [limit, setLimit] = useState(SHOWN);
  const events = session.log.lines.value;
  if (events.length === 0) {
    return session.caughtUp.value ? <Empty title="Nothing happened yet"><p>State changes, warnings and the trainer's own lines appear here.</p></Empty> : <Loading what="the log" />;
  }
  return (
    <div class="card log-card">
      <ol class="log" aria-label="Log, newest first">{events.slice(-limit).reverse().map((event) => <LogRow key={event.number} event={event} />)}</ol>
      {events.length > limit && <p class="more"><button type="button" class="button" onClick={() => setLimit(limit * 3)}>Show older lines</button></p>}
    </div>
  );
}

function LogRow({ event }: { event: JobEvent }) {
  const line = lineOf(event.body);
  return (
    <li class="log-row" data-level={line.level} data-number={event.number}>
      <time class="muted number" dateTime={new Date(event.at * 1000).toISOString()}>{moment(event.at)}</time>
      <div>
        <Said text={line.text} />
        {line.detail && <details><summary>Details</summary><pre tabIndex={0}>{line.detail}</pre></details>}
      </div>
    </li>
  );
}

/** An event as a line of text. */
export function lineOf(body: EventBody): Line {
  switch (body.type) {
    case "state": {
      const { word, tone } = STATES[body.state];
      const level = tone === "bad" ? "error" : tone === "good" ? "good" : "info";
      return { level, text: body.reason ? `${word}: ${body.reason}` : word, detail: body.detail };
    }
    case "attempt_started":
      return { level: "info", text: `${body.worker} began on ${body.device}.`, detail: "" };
    case "attempt_ended":
      return {
        level: body.outcome === "failed" || body.outcome === "crashed" ? "error" : "info",
        text: `${OUTCOMES[body.outcome]} at step ${count(body.step)} after ${duration(body.elapsed_s)}.${body.reason ? ` ${body.reason}` : ""}`,
        detail: body.detail,
      };
    case "warning":
      return { level: "warning", text: [body.message, body.advice].filter(Boolean).join(" "), detail: "" };
    case "checkpoint":
      return { level: "quiet", text: `Saved step ${count(body.step)} in ${duration(body.seconds)} (${SAVED[body.reason] ?? body.reason}).`, detail: "" };
    case "preview":
      return { level: "quiet", text: `Made a preview at epoch ${count(body.epoch)}, step ${count(body.step)}.`, detail: "" };
    case "log":
      return { level: body.level === "debug" ? "quiet" : body.level, text: body.message, detail: "" };
    default:
      return { level: "quiet", text: body.type, detail: "" };
  }
}
