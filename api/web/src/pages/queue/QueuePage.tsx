import { useLocation } from "preact-iso";
import { useEffect } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { Empty, Loading, Problem } from "../../components/Notices";
import { Page } from "../../components/Page";
import { count, moment, plural } from "../../format";
import { listBatch } from "../../http/api";
import type { Job } from "../../model/job";
import { isActive, isWaiting } from "../../model/states";
import { busy, pauseQueue } from "../../store/actions";
import { orderNews } from "../../store/order";
import { counts, hasMore, jobs, loading, loadLists, orderedJobs, putJobs, queue } from "../../store/queue";
import { bulkDo, clearSelection, isBulkBusy } from "../../store/selection";
import { may } from "../../session";
import { tellError } from "../../store/toasts";
import { BulkBar } from "./BulkBar";
import { belongs, grouped, matches, type Show, SHOWS, SHOW_WORDS, toBatch, toShow, withQuery } from "./filter";
import { JobGroup } from "./JobGroup";
import { useKeptFocus } from "./kept_focus";

export function QueuePage() {
  useEffect(() => clearSelection, []);
  const head = (
    <div class="row">
      {!queue.value.paused && may("queue.pause_queue") && (
        <button type="button" class="button" disabled={busy.value.has("queue")} onClick={() => void pauseQueue(true)}><Icon name="pause" />Pause queue</button>
      )}
      {may("jobs.submit_job") && <a class="button button-primary" href="/new"><Icon name="plus" />Start a job</a>}
    </div>
  );
  return (
    <Page title="Queue" head={head}>
      <PausedBanner />
      <Strip />
      <QueueBody />
      <p class="unseen" role="status">{orderNews.value}</p>
    </Page>
  );
}

/** Nobody should wonder why nothing starts. */
function PausedBanner() {
  const { paused, pausedAt } = queue.value;
  return (
    <div role="status">
      {paused && (
        <div class="note note-warn row queue-paused">
          <Icon name="pause" />
          <p><b>The queue is paused{pausedAt !== null && ` since ${moment(pausedAt)}`}.</b> Nothing new starts; what runs goes on.</p>
          {may("queue.resume_queue") && <button type="button" class="button button-small push" disabled={busy.value.has("queue")} onClick={() => void pauseQueue(false)}><Icon name="play" />Resume queue</button>}
        </div>
      )}
    </div>
  );
}

function Strip() {
  const { running, queued, failedToday, workers } = counts.value;
  const facts = [
    { label: "Running", value: count(running), href: "/?show=running", tone: running ? "work" : "" },
    { label: "Queued", value: count(queued) + (hasMore.value.open ? "+" : ""), href: "/?show=waiting", tone: "" },
    { label: "Failed today", value: count(failedToday), href: "/?show=failed", tone: failedToday ? "bad" : "" },
    { label: "Workers online", value: count(workers), href: "/workers", tone: workers ? "" : "warn" },
  ];
  return (
    <ul class="strip" aria-label="At a glance">
      {facts.map(({ label, value, href, tone }) => (
        <li key={label}>
          <a href={href} class="card strip-fact" data-tone={tone}>
            <b>{value}</b> <span>{label}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function QueueBody() {
  useKeptFocus();
  const { query } = useLocation();
  const show = toShow(query["show"]);
  const batch = toBatch(query["batch"]);
  const words = query["q"] ?? "";
  if (loading.value === "loading") return <Loading what="the queue" />;
  if (typeof loading.value === "object") return <Problem error={loading.value.error} retry={() => void loadLists()} />;
  if (jobs.value.size === 0) return <EmptyQueue />;
  const inBatch = batch === null ? orderedJobs.value : orderedJobs.value.filter((job) => job.batch === batch);
  const shown = inBatch.filter((job) => belongs(job, show) && matches(job, words));
  return (
    <>
      <QueueFilter show={show} words={words} />
      {batch !== null && <BatchLine batch={batch} jobs={inBatch} />}
      {shown.length === 0 && <Empty title="No job fits this filter"><a class="button" href="/">Show all jobs</a></Empty>}
      {grouped(shown).map((group) => <JobGroup key={`${group.title} ${show} ${batch}`} {...group} />)}
      <BulkBar />
    </>
  );
}

/** What a batch has come to, and the way to stop all of it. */
function BatchLine({ batch, jobs: members }: { batch: number; jobs: readonly Job[] }) {
  const { query } = useLocation();
  // Of a long queue, the lists may lack some of them.
  useEffect(() => {
    listBatch(batch).then(putJobs, tellError);
  }, [batch]);
  const open = members.filter((job) => job.can.cancel);
  const parts = [
    [members.filter((job) => isActive(job.state)).length, "running"],
    [members.filter((job) => isWaiting(job.state)).length, "waiting"],
    [members.filter((job) => job.state === "completed").length, "completed"],
    [members.filter((job) => job.state === "failed").length, "failed"],
  ].filter(([number]) => number).map(([number, word]) => `${number} ${word}`);
  return (
    <div class="card batch-line" role="region" aria-label={`Batch ${batch}`}>
      <p><b>Batch {batch}</b>: {plural(members.length, "job")}{parts.length > 0 && `, ${parts.join(", ")}`}</p>
      <div class="row">
        {open.length > 0 && (
          <button type="button" class="button button-small button-danger" disabled={isBulkBusy.value} onClick={() => void bulkDo("cancel", open)}>
            <Icon name="stop" />Cancel the batch
          </button>
        )}
        <a class="button button-small" href={withQuery("/", query, { batch: "" })}><Icon name="close" />Show all jobs</a>
      </div>
    </div>
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
  const isOpen = may("jobs.submit_job");
  return (
    <Empty title="The queue is empty">
      <p>Jobs appear here as soon as they are submitted: first in line, then at work, then with their result.{isOpen && " Bring some sounds and start one."}</p>
      {isOpen && (
        <div class="row">
          <a class="button button-primary" href="/new">Start a new job</a>
          <a class="button" href="/datasets">Add sounds</a>
        </div>
      )}
    </Empty>
  );
}
