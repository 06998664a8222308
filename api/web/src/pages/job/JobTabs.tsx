import { useLocation } from "preact-iso";
import { useRef } from "preact/hooks";
import type { JobDetail } from "../../model/job";
import type { JobSession } from "../../store/job_session";
import { withQuery } from "../queue/filter";
import { ChartsTab } from "./charts/ChartsTab";
import { CheckpointsTab } from "./CheckpointsTab";
import { ConfigTab } from "./ConfigTab";
import { LogTab } from "./LogTab";
import { PreviewsTab } from "./PreviewsTab";

const TABS = [
  { key: "charts", label: "Charts", trainsOnly: true },
  { key: "previews", label: "Previews", trainsOnly: true },
  { key: "checkpoints", label: "Checkpoints", trainsOnly: true },
  { key: "log", label: "Log", trainsOnly: false },
  { key: "config", label: "Config", trainsOnly: false },
] as const;

/** The tabs of a job; which one is open stands in the address. */
export function JobTabs({ job, session }: { job: JobDetail; session: JobSession }) {
  const { path, query, route } = useLocation();
  const buttons = useRef<HTMLDivElement>(null);
  const tabs = TABS.filter(({ trainsOnly }) => job.kind === "train" || !trainsOnly);
  const open = (tabs.find(({ key }) => key === query["tab"]) ?? tabs[0])?.key ?? "log";
  const choose = (key: string): void => route(withQuery(path, query, { tab: key === tabs[0]?.key ? "" : key }), true);

  const move = (event: KeyboardEvent): void => {
    const index = tabs.findIndex(({ key }) => key === open);
    const target = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const next = (target + tabs.length) % tabs.length;
    choose(tabs[next]?.key ?? "log");
    buttons.current?.querySelectorAll<HTMLElement>("[role='tab']")[next]?.focus();
  };

  return (
    <>
      <div class="segments job-tabs" role="tablist" aria-label="Parts of the job" ref={buttons} onKeyDown={move}>
        {tabs.map(({ key, label }) => (
          <button
            key={key}
            type="button"
            role="tab"
            id={`tab-${key}`}
            aria-controls={key === open ? "tab-panel" : undefined}
            aria-selected={key === open}
            tabIndex={key === open ? 0 : -1}
            onClick={() => choose(key)}
          >
            {label}
          </button>
        ))}
      </div>
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${open}`} tabIndex={0}>
        {open === "charts" && <ChartsTab session={session} />}
        {open === "previews" && <PreviewsTab job={job} session={session} />}
        {open === "checkpoints" && <CheckpointsTab job={job} session={session} />}
        {open === "log" && <LogTab session={session} />}
        {open === "config" && <ConfigTab job={job} />}
      </div>
    </>
  );
}
