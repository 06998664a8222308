import { useRef } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { count } from "../../format";
import type { Wire } from "../../model/wire_types";
import { changeDraft, draft, startOf } from "../../store/draft";
import { fieldId } from "./field_groups";

/** The checkpoint that the training starts from, as the server found it, with a way back to new weights. */
export function StartLine({ known, error, isFixed }: { known: Wire<"StartPoint"> | null; error: string | undefined; isFixed: boolean }) {
  // A refusal tells nothing of the start: what was found before stays.
  const last = useRef(known);
  last.current = known ?? last.current;
  const start = startOf(draft.value);
  if (!start) return null;
  const found = last.current?.job_id === start.job && (!start.checkpoint || last.current.checkpoint === start.checkpoint) ? last.current : null;
  const checkpoint = found?.checkpoint ?? start.checkpoint;
  const id = fieldId("start");
  return (
    <section class="card start-line" aria-label="Start" data-invalid={error !== undefined}>
      <p>
        Starts from <a href={`/jobs/${start.job}?tab=checkpoints`}>job {start.job}{found && ` (${found.job_name})`}</a>
        {checkpoint ? `, checkpoint ${checkpoint}` : ", its best checkpoint"}
        {found && `, epoch ${count(found.epoch)}`}.
      </p>
      {!isFixed && <button
        type="button"
        id={id}
        class="button button-small"
        aria-describedby={error ? `${id}-error` : `${id}-help`}
        aria-invalid={error ? true : undefined}
        onClick={() => changeDraft({ start: null })}
      >
        <Icon name="close" />
        Start from new weights
      </button>}
      {error
        ? <p class="field-error" id={`${id}-error`} role="alert">{error}</p>
        : <p class="field-help" id={`${id}-help`}>Representation, latent space, chunk length and spectrogram are that model’s; sigma and elbo go together, beta and documented stay alone. Any dataset will do.</p>}
    </section>
  );
}
