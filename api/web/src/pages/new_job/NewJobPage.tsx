import { useLocation } from "preact-iso";
import { useEffect, useRef, useState } from "preact/hooks";
import { Empty, Loading } from "../../components/Notices";
import { Page } from "../../components/Page";
import { submitJob } from "../../http/api";
import { changeDraft, draft, EMPTY_DRAFT, parseTyped, startOf, toRequest, withoutBound } from "../../store/draft";
import { datasets, loading, putJob } from "../../store/queue";
import { tell } from "../../store/toasts";
import { Advanced } from "./Advanced";
import { Basics } from "./Basics";
import { Estimate } from "./Estimate";
import { fieldId, generalError } from "./field_groups";
import { errorsOf, useFormCheck, usePresets } from "./form_check";
import { StartLine } from "./StartLine";

export function NewJobPage() {
  useAddress();
  if (loading.value === "loading") return <Page title="New job"><Loading what="the datasets" /></Page>;
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
  return <Page title="New job"><JobForm /></Page>;
}

/** Takes over what a link asks for, such as "Train on this" or "Train from this", then leaves the address clean. */
function useAddress(): void {
  const { query, route } = useLocation();
  const { dataset, kind, start, checkpoint = "", representation } = query;
  useEffect(() => {
    if (!dataset && !kind && !start) return;
    const job = Number(start);
    changeDraft({
      ...(dataset && dataset !== draft.value.dataset && { dataset, name: "" }),
      ...((kind === "train" || kind === "preprocess") && { kind }),
      ...((representation === "mel" || representation === "mel_if") && { representation }),
      ...(Number.isInteger(job) && job > 0 && { kind: "train", start: { job, checkpoint }, typed: withoutBound(draft.value.typed) }),
    });
    route("/new", true);
  }, [dataset, kind, start, checkpoint, representation]);
}

function JobForm() {
  const { route } = useLocation();
  const form = draft.value;
  const presets = usePresets(form.dataset, form.representation, startOf(form));
  const preset = presets?.presets.find((one) => one.preset === form.preset)?.train ?? null;
  const { changes, errors: typedErrors } = parseTyped(form.typed);
  const request = form.dataset ? toRequest(form, changes, preset) : null;
  const isParsed = Object.keys(typedErrors).length === 0;
  const check = useFormCheck(isParsed ? request : null);
  const [sentErrors, setSentErrors] = useState<Readonly<Record<string, string>>>({});
  const [isSending, setSending] = useState(false);
  const wantsFocus = useRef(false);
  const box = useRef<HTMLFormElement>(null);
  const errors = { ...sentErrors, ...check.errors, ...typedErrors };

  // What the server said of an older draft is no longer true of this one.
  useEffect(() => setSentErrors({}), [JSON.stringify(form)]);
  useEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    focusFirstError(box.current, errors);
  });

  const submit = async (): Promise<void> => {
    if (isSending) return;
    if (!request) setSentErrors({ dataset: "Choose a dataset first." });
    if (!request || !isParsed) {
      wantsFocus.current = true;
      setSentErrors((old) => ({ ...old }));
      return;
    }
    setSending(true);
    try {
      const job = await submitJob(request);
      putJob(job);
      draft.value = { ...EMPTY_DRAFT, dataset: form.dataset };
      tell(`${job.name} is in the queue.`, { href: `/jobs/${job.id}`, label: "Open it" });
      route("/");
    } catch (error) {
      wantsFocus.current = true;
      setSentErrors(errorsOf(error));
      setSending(false);
    }
  };

  return (
    <form
      ref={box}
      class="job-form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div class="stack job-form-main">
        <StartLine known={check.view?.start ?? null} error={errors["start"]} />
        <Basics presets={presets} errors={errors} />
        <Advanced preset={preset} errors={errors} />
      </div>
      <Estimate check={check} general={generalError(errors)} fileCount={presets?.fileCount} isSending={isSending} />
    </form>
  );
}

function focusFirstError(box: HTMLFormElement | null, errors: Readonly<Record<string, string>>): void {
  const invalid = box?.querySelector<HTMLElement>("[aria-invalid='true']")
    ?? Object.keys(errors).map((name) => document.getElementById(fieldId(name))).find((element) => element !== null);
  if (!invalid) return;
  invalid.closest("details")?.setAttribute("open", "");
  invalid.focus();
  invalid.scrollIntoView({ block: "center" });
}
