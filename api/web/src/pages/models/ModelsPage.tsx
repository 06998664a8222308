import { useLocation } from "preact-iso";
import { useEffect, useRef, useState } from "preact/hooks";
import { DiskLine } from "../../components/DiskLine";
import { Empty, Loading, Problem } from "../../components/Notices";
import { Page } from "../../components/Page";
import { REPRESENTATIONS } from "../../format";
import { listModels } from "../../http/api";
import type { Model, ModelQuery } from "../../model/model";
import { may } from "../../session";
import { tellError } from "../../store/toasts";
import { withQuery } from "../queue/filter";
import { ModelTable } from "./ModelTable";

/** While somebody types, the list is asked for once. */
const TYPING_MS = 200;
const KEPT = { "": "All", best: "Best", final: "Final", pinned: "Pinned" } as const;

/** Every model that stays, across all jobs. */
export function ModelsPage() {
  const { query } = useLocation();
  const asked: ModelQuery = { q: query["q"] ?? "", representation: query["representation"] ?? "", kept: query["kept"] ?? "" };
  const key = JSON.stringify(asked);
  const [models, setModels] = useState<readonly Model[] | null>(null);
  const [next, setNext] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [isMoreBusy, setMoreBusy] = useState(false);
  const newest = useRef(new AbortController());

  const load = (): void => {
    newest.current.abort();
    const { signal } = (newest.current = new AbortController());
    listModels(asked, "", signal).then(
      (page) => {
        if (signal.aborted) return;
        setModels(page.models);
        setNext(page.next);
        setError(null);
      },
      (reason: unknown) => {
        if (!signal.aborted) setError(reason);
      },
    );
  };
  useEffect(() => {
    const timer = setTimeout(load, models ? TYPING_MS : 0);
    return () => {
      clearTimeout(timer);
      newest.current.abort();
    };
  }, [key]);

  const more = async (): Promise<void> => {
    const { signal } = newest.current;
    setMoreBusy(true);
    try {
      const page = await listModels(asked, next, signal);
      setModels((before) => [...(before ?? []), ...page.models]);
      setNext(page.next);
    } catch (reason) {
      if (!signal.aborted) tellError(reason);
    } finally {
      setMoreBusy(false);
    }
  };

  const isFiltered = asked.q !== "" || asked.representation !== "" || asked.kept !== "";
  return (
    <Page title="Models">
      {(isFiltered || (models?.length ?? 0) > 0) && <ModelFilter asked={asked} />}
      {error !== null ? <Problem error={error} retry={load} />
        : models === null ? <Loading what="the models" />
        : models.length === 0 ? <NoModels isFiltered={isFiltered} />
        : <ModelTable models={models} />}
      {next && error === null && (
        <p class="more"><button type="button" class="button" disabled={isMoreBusy} onClick={() => void more()}>Show more</button></p>
      )}
      <DiskLine />
    </Page>
  );
}

function ModelFilter({ asked }: { asked: ModelQuery }) {
  const { query, route } = useLocation();
  return (
    <search class="queue-filter">
      <nav class="segments" aria-label="Filter by what keeps them">
        {Object.entries(KEPT).map(([kept, word]) => (
          <a key={kept} href={withQuery("/models", query, { kept })} aria-current={kept === asked.kept ? "true" : undefined}>{word}</a>
        ))}
      </nav>
      <select
        class="select model-representation"
        aria-label="Representation"
        value={asked.representation}
        onChange={(event) => route(withQuery("/models", query, { representation: event.currentTarget.value }), true)}
      >
        <option value="">Every representation</option>
        {Object.entries(REPRESENTATIONS).map(([name, word]) => <option key={name} value={name}>{word}</option>)}
      </select>
      <input
        type="search"
        class="input"
        aria-label="Search models"
        placeholder="Search by job or dataset …"
        value={asked.q}
        onInput={(event) => route(withQuery("/models", query, { q: event.currentTarget.value }), true)}
      />
    </search>
  );
}

function NoModels({ isFiltered }: { isFiltered: boolean }) {
  if (isFiltered) return <Empty title="No model fits this filter"><a class="button" href="/models">Show all models</a></Empty>;
  return (
    <Empty title="No models yet">
      <p>The best and the final checkpoint of every training appear here, and those that you pin on a job’s Checkpoints tab: to download, or to start another training from.</p>
      {may("jobs.submit_job") && <a class="button button-primary" href="/new">Start a training</a>}
    </Empty>
  );
}
