import { useEffect } from "preact/hooks";
import { Empty, Loading, Problem, Refused } from "../../components/Notices";
import { Page } from "../../components/Page";
import { plural } from "../../format";
import { may } from "../../session";
import { loading, loadLists, loadWorkers, onlineWorkers, orderedWorkers } from "../../store/queue";
import { AddMachine } from "./AddMachine";
import { WorkerCard } from "./WorkerCard";

/** A worker that falls silent sends nothing: how old its heartbeat is, and that it is away, the api tells. */
const REFRESH_MS = 10_000;

export function WorkersPage() {
  useEffect(() => {
    const timer = setInterval(() => {
      // While the server is away, the banner says so.
      if (!document.hidden) loadWorkers().catch(() => undefined);
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <Page title="Workers">
      <div class="stack workers-page">
        <Workers />
        {may("tokens.create_token") ? <AddMachine /> : <Refused route="tokens.create_token" what="Adding a machine or a person" />}
      </div>
    </Page>
  );
}

function Workers() {
  if (loading.value === "loading") return <Loading what="the workers" />;
  if (typeof loading.value === "object") return <Problem error={loading.value.error} retry={() => void loadLists()} />;
  const all = orderedWorkers.value;
  if (all.length === 0) return <NoWorkers />;
  const online = onlineWorkers.value.length;
  return (
    <>
      {online < all.length && <p class="muted">{online === 0 ? "None is online: jobs wait until one is." : `${plural(online, "worker is", "workers are")} online, ${all.length - online} not.`}</p>}
      <ul class="worker-grid">{all.map((worker) => <WorkerCard key={worker.name} worker={worker} />)}</ul>
    </>
  );
}

function NoWorkers() {
  return (
    <Empty title="No worker is here">
      <p>A worker runs the jobs, one for each device of a machine. Jobs wait until there is one. On this machine, <code>./deploy/up</code> starts them; another machine joins with one pasted line{may("tokens.create_token") && ", made below"}.</p>
    </Empty>
  );
}
