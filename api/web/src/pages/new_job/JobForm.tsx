import { useEffect, useRef, useState } from "preact/hooks";
import type { JobDetail } from "../../model/job";
import { draft, startOf } from "../../store/draft";
import { type FormRequest, readForm } from "../../store/draft_request";
import { Advanced } from "./Advanced";
import { AsJson } from "./AsJson";
import { Basics } from "./Basics";
import { Estimate } from "./Estimate";
import { fieldId, generalError } from "./field_groups";
import { errorsOf, useFormCheck, usePresets } from "./form_check";
import { SeveralAtOnce } from "./SeveralAtOnce";
import { StartLine } from "./StartLine";
import { WhereAndWhen } from "./WhereAndWhen";

/** The form of a new job, or of the queued one that is edited; `submit` throws what the api refuses. */
export function JobForm({ submit, editing }: { submit: (request: FormRequest) => Promise<void>; editing?: JobDetail }) {
  const form = draft.value;
  const presets = usePresets(form.dataset, form.representation, startOf(form));
  const preset = presets?.presets.find((one) => one.preset === form.preset)?.train ?? null;
  const request = readForm(form, preset);
  const isParsed = Object.keys(request.errors).length === 0;
  const check = useFormCheck(request);
  const [sentErrors, setSentErrors] = useState<Readonly<Record<string, string>>>({});
  const [isSending, setSending] = useState(false);
  const wantsFocus = useRef(false);
  const box = useRef<HTMLFormElement>(null);
  const errors = { ...sentErrors, ...check.errors, ...request.errors };

  // What the server said of an older draft is no longer true of this one.
  useEffect(() => setSentErrors({}), [JSON.stringify(form)]);
  useEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    focusFirstError(box.current, errors);
  });

  const send = async (): Promise<void> => {
    if (isSending) return;
    if (!request.job) setSentErrors({ dataset: "Choose a dataset first." });
    if (!request.job || !isParsed) {
      wantsFocus.current = true;
      setSentErrors((old) => ({ ...old }));
      return;
    }
    setSending(true);
    try {
      await submit(request);
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
        void send();
      }}
    >
      <div class="stack job-form-main">
        <StartLine known={check.view?.start ?? null} error={errors["start"]} isFixed={editing !== undefined} />
        <Basics presets={presets} errors={errors} editing={editing} />
        {!editing && <SeveralAtOnce preset={preset} errors={errors} jobCount={request.jobCount} />}
        <WhereAndWhen errors={errors} editing={editing?.id ?? null} />
        {(!editing || editing.kind === "train") && <Advanced preset={preset} errors={errors} />}
        {!editing && <AsJson job={isParsed ? request.job : null} />}
      </div>
      <Estimate check={check} general={generalError(errors)} fileCount={presets?.fileCount} isSending={isSending} jobCount={request.jobCount} isWrong={Object.keys(errors).length > 0} isEdit={editing !== undefined} />
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
