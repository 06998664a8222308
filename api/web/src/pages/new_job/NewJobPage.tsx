import { useLocation } from "preact-iso";
import { Empty, Loading, Refused } from "../../components/Notices";
import { Page } from "../../components/Page";
import { plural } from "../../format";
import { submitJob, submitSweep } from "../../http/api";
import { may } from "../../session";
import { draft, EMPTY_DRAFT, putDraft } from "../../store/draft";
import type { FormRequest } from "../../store/draft_request";
import { datasets, loading, loadLists, putJob } from "../../store/queue";
import { tell } from "../../store/toasts";
import { JobForm } from "./JobForm";
import { useAddress } from "./prefill";

export function NewJobPage() {
  const isFilling = useAddress();
  if (!may("jobs.submit_job")) return <Page title="New job"><Refused route="jobs.submit_job" what="Starting a job" /></Page>;
  if (loading.value === "loading") return <Page title="New job"><Loading what="the datasets" /></Page>;
  if (isFilling) return <Page title="New job"><Loading what="the job" /></Page>;
  const usable = [...datasets.value.values()].filter((dataset) => dataset.clips > 0);
  if (usable.length === 0) {
    return (
      <Page title="New job">
        <Empty title="First, some sounds">
          <p>A training learns from a dataset. Make one from the sounds you have; a handful is enough to begin with.</p>
          <a class="button button-primary" href="/datasets">Add sounds</a>
        </Empty>
      </Page>
    );
  }
  return <Page title="New job"><NewJob /></Page>;
}

function NewJob() {
  const { route } = useLocation();
  const submit = async ({ job, sweep }: FormRequest): Promise<void> => {
    const { dataset } = draft.value;
    if (sweep) {
      // The jobs are named by what they differ in: datasets by their names, then, and not by their numbers.
      const names = sweep.datasets.map((id) => datasets.value.get(Number(id))?.name ?? id);
      const made = await submitSweep({ ...sweep, datasets: names });
      void loadLists();
      tell(`${plural(made.jobs.length, "job is", "jobs are")} in the queue, as batch ${made.batch}.`);
      putDraft({ ...EMPTY_DRAFT, dataset });
      route(`/?batch=${made.batch}`);
    } else if (job) {
      const made = await submitJob(job);
      putJob(made);
      tell(`${made.name} is in the queue.`, { href: `/jobs/${made.id}`, label: "Open it" });
      putDraft({ ...EMPTY_DRAFT, dataset });
      route("/");
    }
  };
  return <JobForm submit={submit} />;
}
