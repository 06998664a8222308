// Asks the server what the draft comes to, as it is being typed.
import { useEffect, useState } from "preact/hooks";
import { checkJob, checkSweep, listPresets } from "../../http/api";
import { ApiError } from "../../http/request";
import type { Representation, TrainConfig, Wire } from "../../model/wire_types";
import type { Draft } from "../../store/draft";
import type { FormRequest } from "../../store/draft_request";
import { formField } from "./field_groups";

const CHECK_AFTER_MS = 300;

export interface FormCheck {
  readonly view: (Wire<"CheckView"> & Partial<Wire<"SweepCheckView">>) | null;
  /** What the server refuses, by field; "" for what is about no field. */
  readonly errors: Readonly<Record<string, string>>;
  /** False while the answer belongs to an older draft. */
  readonly isFresh: boolean;
}

const NOTHING: FormCheck = { view: null, errors: {}, isFresh: false };

export function errorsOf(error: unknown): Record<string, string> {
  if (error instanceof ApiError) return { [formField(error.field)]: error.message.replace(/^(train\.)?changes\./, "") };
  return { "": error instanceof Error ? error.message : String(error) };
}

/** Checks what the form asks for a moment after its last change, as soon as there is something to ask. */
export function useFormCheck({ job, sweep, errors }: FormRequest): FormCheck {
  const [check, setCheck] = useState<FormCheck>(NOTHING);
  const isParsed = Object.keys(errors).length === 0;
  const key = JSON.stringify(isParsed && (sweep ?? job));
  useEffect(() => {
    setCheck((old) => ({ ...old, isFresh: false }));
    if (!job || !isParsed) {
      setCheck(NOTHING);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => {
      (sweep ? checkSweep(sweep, abort.signal) : checkJob(job, abort.signal)).then(
        (view) => setCheck({ view, errors: {}, isFresh: true }),
        (error: unknown) => {
          if (!abort.signal.aborted) setCheck({ view: null, errors: errorsOf(error), isFresh: true });
        },
      );
    }, CHECK_AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key]);
  return check;
}

export interface Presets {
  readonly fileCount: number;
  readonly presets: readonly { readonly preset: string; readonly recommendedFor: string; readonly train: TrainConfig }[];
}

/** The presets' values for a dataset, and for the model that is started from; null until they are there. */
export function usePresets(dataset: string, representation: Representation, start: Draft["start"]): Presets | null {
  const [presets, setPresets] = useState<Presets | null>(null);
  useEffect(() => {
    if (!dataset) {
      setPresets(null);
      return;
    }
    const abort = new AbortController();
    listPresets(dataset, representation, start, abort.signal).then(setPresets, () => {
      if (!abort.signal.aborted) setPresets(null);
    });
    return () => abort.abort();
  }, [dataset, representation, start?.job, start?.checkpoint]);
  return presets;
}
