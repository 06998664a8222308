// What a link to the New job form asks for: a dataset, a checkpoint to start from, or another job's settings.
import { useLocation } from "preact-iso";
import { useEffect } from "preact/hooks";
import { getJob, listPresets } from "../../http/api";
import type { JobDetail } from "../../model/job";
import { changeDraft, type Draft, draft, putDraft, valueOf, withoutBound } from "../../store/draft";
import { toDraft } from "../../store/draft_request";
import { tellError } from "../../store/toasts";
import { textOf } from "../../store/typed";

/** Takes over what the address asks for, then leaves it clean; true until that is done. */
export function useAddress(): boolean {
  const { query, route } = useLocation();
  const { dataset, kind, start, checkpoint = "", representation } = query;
  const from = Number(query["from"]);
  const asks = Boolean(dataset || kind || start);
  useEffect(() => {
    if (from > 0) {
      const abort = new AbortController();
      duplicate(from, abort.signal).then(
        (form) => {
          putDraft(form);
          route("/new", true);
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          tellError(error);
          route("/new", true);
        },
      );
      return () => abort.abort();
    }
    if (!asks) return;
    const job = Number(start);
    changeDraft({
      ...(dataset && dataset !== draft.value.dataset && { dataset, name: "" }),
      ...((kind === "train" || kind === "preprocess") && { kind }),
      ...((representation === "mel" || representation === "mel_if") && { representation }),
      ...(Number.isInteger(job) && job > 0 && { kind: "train", start: { job, checkpoint }, typed: withoutBound(draft.value.typed) }),
    });
    route("/new", true);
  }, [dataset, kind, start, checkpoint, representation, from]);
  // The form is shown once all is filled in: what a person opened or typed before would be lost with the old address.
  return asks || from > 0;
}

async function duplicate(id: number, signal: AbortSignal): Promise<Draft> {
  return withoutPreset(await getJob(id, signal), signal);
}

/** A job as the form shows it: features that are the preset's own do not count as changed. */
export async function withoutPreset(job: JobDetail, signal: AbortSignal): Promise<Draft> {
  const form = toDraft(job);
  if (form.kind === "train") return form;
  const { presets } = await listPresets(form.dataset, form.representation, null, signal);
  const preset = presets.find((one) => one.preset === form.preset)?.train ?? null;
  return { ...form, typed: Object.fromEntries(Object.entries(form.typed).filter(([name, text]) => text !== textOf(valueOf(preset, name)))) };
}
