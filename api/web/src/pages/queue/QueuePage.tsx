import { useLocation } from "preact-iso";
import { useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { Empty, Loading, Problem } from "../../components/Notices";
import { Page } from "../../components/Page";
import { count } from "../../format";
import { counts, jobs, loading, loadLists, orderedJobs } from "../../store/queue";
import { belongs, grouped, matches, type Show, SHOWS, SHOW_WORDS, toShow, withQuery } from "./filter";
import { JobRow } from "./JobRow";

const ROWS = 60;

export function QueuePage() {
  const newJob = <a class="button button-primary" href="/new"><Icon name="plus" />Start a job</a>;
  return (
    <Page title="Queue" head={newJob}>
      <Strip />
      <QueueBody />
    </Page>
  );
}

function Strip() {
  const { running, queued, failedToday, workers } = counts.value;
  const facts = [
    { label: "Running", value: running, href: "/?show=running", tone: running ? "work" : "" },
    { label: "Queued", value: queued, href: "/?show=waiting", tone: "" },
    { label: "Failed today", value: failedToday, href: "/?show=failed", tone: failedToday ? "bad" : "" },
    { label: "Workers online", value: workers, href: "/workers", tone: workers ? "" : "warn" },
  ];
  return (
    <ul class="strip" aria-label="At a glance">
      {facts.map(({ label, value, href, tone }) => (
        <li key={label}>
          <a href={href} class="card strip-fact" data-tone={tone}>
            <b>{count(value)}</b> <span>{label}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function QueueBody() {
  const { query } = useLocation();
  const show = toShow(query["show"]);
  const words = query["q"] ?? "";
  const [limit, setLimit] = useState(ROWS);
  if (loading.value === "loading") return <Loading what="the queue" />;
  if (typeof loading.value === "object") return <Problem error={loading.value.error} retry={() => void loadLists()} />;
  if (jobs.value.size === 0) return <EmptyQueue />;
  const shown = orderedJobs.value.filter((job) => belongs(job, show) && matches(job, words));
  return (
    <>
      <QueueFilter show={show} words={words} />
      {shown.length === 0 && <Empty title="No job fits this filter"><a class="button" href="/">Show all jobs</a></Empty>}
      {grouped(shown.slice(0, limit)).map((group) => (
        <section key={group.title} class="queue-group" aria-labelledby={`group-${group.title}`}>
          <h2 id={`group-${group.title}`}>{group.title}</h2>
          <ul class="card job-list">{group.jobs.map((job) => <JobRow key={job.id} job={job} />)}</ul>
        </section>
      ))}
      {shown.length > limit && (
        <p class="more"><button type="button" class="button" onClick={() => setLimit(limit + ROWS)}>Show {count(Math.min(ROWS, shown.length - limit))} more</button></p>
      )}
    </>
  );
}

function QueueFilter({ show, words }: { show: Show; words: string }) {
  const { query, route } = useLocation();
  return (
    <search class="queue-filter">
      <nav class="segments" aria-label="Filter by state">
        {SHOWS.map((one) => (
          <a key={one} href={withQuery("/", query, { show: one === "all" ? "" : one })} aria-current={one === show ? "true" : undefined}>
            {SHOW_WORDS[one]}
          </a>
        ))}
      </nav>
      <input
        type="search"
        class="input"
        aria-label="Search jobs"
        placeholder="Search by name, dataset, device …"
        value={words}
        onInput={(event) => route(withQuery("/", query, { q: event.currentTarget.value }), true)}
      />
    </search>
  );
}

function EmptyQueue() {
  return (
    <Empty title="The queue is empty">
      <p>Jobs appear here as soon as they are submitted: first in line, then at work, then with their result. Bring some sounds and start one.</p>
      <div class="row">
        <a class="button button-primary" href="/new">Start a new job</a>
        <a class="button" href="/datasets">Add sounds</a>
      </div>
    </Empty>
  );
}
