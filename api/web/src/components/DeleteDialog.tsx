import { useLocation } from "preact-iso";
import { useEffect, useState } from "preact/hooks";
import { bytes } from "../format";
import { deleteOne, getDeletion } from "../http/api";
import { messageOf } from "../http/request";
import type { DeletionPlan } from "../model/disk";
import { deleting, type Doomed } from "../store/actions";
import { drop } from "../store/queue";
import { tell } from "../store/toasts";
import { Dialog } from "./Dialog";
import { Said } from "./Said";
import { Loading } from "./Notices";
import { StateBadge } from "./StateBadge";

/** Shows what goes with a job or a dataset, and what that frees, before it goes. */
export function DeleteDialog() {
  const doomed = deleting.value;
  return doomed && <DeleteForm key={`${doomed.kind} ${doomed.id}`} doomed={doomed} />;
}

function DeleteForm({ doomed }: { doomed: Doomed }) {
  const { path, route } = useLocation();
  const [plan, setPlan] = useState<DeletionPlan | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isSending, setSending] = useState(false);
  const close = (): void => {
    deleting.value = null;
  };
  useEffect(() => {
    getDeletion(doomed.kind, doomed.id).then(setPlan, setError);
  }, [doomed]);
  const submit = async (): Promise<void> => {
    if (!plan?.possible || isSending) return;
    setSending(true);
    try {
      const freed = await deleteOne(doomed.kind, doomed.id);
      close();
      const own = `/${doomed.kind}s/${doomed.id}`;
      if (path === own) route(doomed.kind === "job" ? "/" : "/datasets", true);
      drop(doomed.kind, doomed.id);
      tell(`${doomed.name} is deleted${freed > 0 ? `: ${bytes(freed)} freed` : ""}.`);
    } catch (reason) {
      setError(reason);
      setSending(false);
    }
  };
  return (
    <Dialog title={`Delete ${doomed.name}?`} onClose={close} onSubmit={() => void submit()}>
      {plan ? <Plan plan={plan} /> : error === null && <Loading what="what would go" />}
      {error !== null && <div class="note note-bad" role="alert"><p><Said text={messageOf(error)} /></p></div>}
      <div class="dialog-foot">
        <button type="button" class="button" onClick={close}>Keep it</button>
        {plan?.possible && <button type="submit" class="button button-danger" disabled={isSending}>Delete for good</button>}
      </div>
    </Dialog>
  );
}

function Plan({ plan }: { plan: DeletionPlan }) {
  if (!plan.possible) {
    return (
      <>
        <div class="note note-warn" role="alert"><p>{plan.reason}</p></div>
        {plan.blockers.length > 0 && (
          <ul class="row used-by" aria-label="Jobs in the way">
            {plan.blockers.map((job) => (
              <li key={job.id}>
                <a class="button button-small" href={`/jobs/${job.id}`} onClick={() => { deleting.value = null; }}>{job.name || `Job ${job.id}`}<StateBadge state={job.state} /></a>
              </li>
            ))}
          </ul>
        )}
      </>
    );
  }
  return (
    <>
      <p>This deletes {listed(plan.goes)}. It frees <b>{bytes(plan.sizeBytes)}</b> and cannot be undone.</p>
      {plan.notes.map((note) => <div key={note} class="note note-warn"><p>{note}</p></div>)}
    </>
  );
}

/** "a, b and c" */
function listed(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}
