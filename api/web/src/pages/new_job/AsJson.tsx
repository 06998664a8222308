import { useState } from "preact/hooks";
import { Field } from "../../components/Field";
import type { JobRequest } from "../../http/api";
import { putDraft } from "../../store/draft";
import { draftOf } from "../../store/draft_request";
import { datasets } from "../../store/queue";
import { tell } from "../../store/toasts";
import { Folded } from "./Folded";

/** The job as it is asked of the api, to be kept or sent to somebody; and the way back, from such a text. */
export function AsJson({ job }: { job: JobRequest | null }) {
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const take = (): void => {
    try {
      putDraft(draftOf(JSON.parse(text), datasets.value.values()));
      setText("");
      setError("");
      tell("The form is filled in from the JSON.");
    } catch (reason) {
      setError(reason instanceof SyntaxError ? `This is no JSON: ${reason.message}.` : (reason as Error).message);
    }
  };
  return (
    <Folded title="JSON" summary="to keep, to send, to take over" isUsed={false} hasError={error !== ""}>
      <section class="stack" aria-label="JSON">
        {job ? <pre class="json" tabIndex={0} aria-label="This job as JSON">{JSON.stringify(job, null, 2)}</pre> : <p class="muted">Choose a dataset to see it.</p>}
        <Field id="import-json" label="Take over" help="A job from above, from the configuration of a model or from the command line's --json." error={error}>
          {(props) => (
            <textarea
              {...props}
              class="input json"
              rows={4}
              spellcheck={false}
              placeholder={'{"kind": "train", "dataset": "kicks", "changes": {"epochs": 50}}'}
              value={text}
              onInput={(event) => {
                setText(event.currentTarget.value);
                setError("");
              }}
            />
          )}
        </Field>
        <p><button type="button" class="button" disabled={text.trim() === ""} onClick={take}>Fill in the form</button></p>
      </section>
    </Folded>
  );
}
