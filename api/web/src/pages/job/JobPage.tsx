import { useEffect, useMemo } from "preact/hooks";
import { Loading, Problem } from "../../components/Notices";
import { Page } from "../../components/Page";
import { percent } from "../../format";
import { isActive, STATES } from "../../model/states";
import { JobSession } from "../../store/job_session";
import { JobHeader } from "./JobHeader";
import { JobTabs } from "./JobTabs";

export function JobPage({ params }: { params?: { id: string } }) {
  const id = Number(params?.id);
  const session = useMemo(() => new JobSession(id), [id]);
  useEffect(() => {
    session.open();
    return () => session.close();
  }, [session]);
  const job = session.current();
  if (!job) {
    const error = session.error.value;
    return <Page title={`Job ${id}`}>{error ? <Problem error={error} retry={() => void session.refreshDetail()} /> : <Loading what="the job" />}</Page>;
  }
  const share = isActive(job.state) && job.progress.fraction !== null ? `${percent(job.progress.fraction)} ` : `${STATES[job.state].word}: `;
  return (
    <Page title={job.name} tabTitle={share + job.name} head={<a class="small" href="/">All jobs</a>}>
      <div class="stack job-page">
        <JobHeader job={job} />
        <JobTabs job={job} session={session} />
      </div>
    </Page>
  );
}
