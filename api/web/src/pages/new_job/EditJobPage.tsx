import { useLocation } from "preact-iso";
import { useEffect, useState } from "preact/hooks";
import { Empty, Loading, Problem, Refused } from "../../components/Notices";
import { Page } from "../../components/Page";
import { editJob, getJob } from "../../http/api";
import type { JobDetail } from "../../model/job";
import { may } from "../../session";
import { draft, editDraft } from "../../store/draft";
import { toEdit } from "../../store/draft_request";
import { putJob } from "../../store/queue";
import { tell } from "../../store/toasts";
import { JobForm } from "./JobForm";
import { withoutPreset } from "./prefill";

/** The New job form once more, filled with a job that is still in the queue. */
export function EditJobPage({ params }: { params?: { id: string } }) {
  const id = Number(params?.id);
  const { route } = useLocation();
  const [job, setJob] = useState<JobDetail | null>(null);
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    const abort = new AbortController();
    const fill = async (): Promise<void> => {
      const found = await getJob(id, abort.signal);
      const form = await withoutPreset(found, abort.signal);
      if (abort.signal.aborted) return;
      editDraft(form);
      setJob(found);
    };
    fill().catch((reason: unknown) => {
      if (!abort.signal.aborted) setError(reason);
    });
    return () => {
      abort.abort();
      editDraft(null);
    };
  }, [id]);

  if (!may("jobs.edit_job")) return <Page title="Edit job"><Refused route="jobs.edit_job" what="Changing a job" /></Page>;
  if (error !== null) return <Page title="Edit job"><Problem error={error} /></Page>;
  if (!job) return <Page title="Edit job"><Loading what="the job" /></Page>;
  const title = `Edit ${job.name}`;
  if (!job.can.edit) {
    return (
      <Page title={title}>
        <Empty title="It is not waiting any more">
          <p>Settings can be changed while a job waits in the queue. This one is {job.state}; a duplicate can have other settings.</p>
          <div class="row">
            <a class="button button-primary" href={`/new?from=${job.id}`}>Duplicate it</a>
            <a class="button" href={`/jobs/${job.id}`}>Open it</a>
          </div>
        </Empty>
      </Page>
    );
  }
  const submit = async (): Promise<void> => {
    const edited = await editJob(job.id, toEdit(draft.value, job));
    putJob(edited);
    tell(`${edited.name} is changed.`);
    route(`/jobs/${job.id}?tab=config`);
  };
  return <Page title={title} head={<a class="small" href={`/jobs/${job.id}`}>Back to the job</a>}><JobForm submit={submit} editing={job} /></Page>;
}
