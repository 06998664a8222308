import { useLocation } from "preact-iso";
import { useRef, useState } from "preact/hooks";
import { Field } from "../../components/Field";
import { bytes, plural } from "../../format";
import { createDataset } from "../../http/api";
import { messageOf } from "../../http/request";
import { suggestedName } from "../../store/dropped_files";
import { putDataset } from "../../store/queue";
import { startUpload } from "../../store/uploads";
import type { UploadItem } from "../../store/upload_queue";
import { DropZone } from "./DropZone";

/** Name a dataset, give it files, and it is made; the upload goes on while you look elsewhere. */
export function NewDataset() {
  const { route } = useLocation();
  const [name, setName] = useState("");
  const [items, setItems] = useState<readonly UploadItem[]>([]);
  const [error, setError] = useState("");
  const [isSending, setSending] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  const take = (fresh: readonly UploadItem[]): void => {
    setItems([...items, ...fresh]);
    if (!name.trim()) setName(suggestedName(fresh));
  };
  const create = async (): Promise<void> => {
    if (isSending) return;
    if (!name.trim()) {
      setError("Give the dataset a name first.");
      input.current?.focus();
      return;
    }
    setSending(true);
    try {
      const dataset = await createDataset(name.trim());
      putDataset(dataset);
      startUpload(dataset.id, items);
      route(`/datasets/${dataset.id}`);
    } catch (reason) {
      setError(messageOf(reason));
      setSending(false);
      input.current?.focus();
    }
  };

  return (
    <form
      class="card new-dataset"
      aria-labelledby="new-dataset-title"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <h2 id="new-dataset-title">New dataset</h2>
      <Field id="dataset-name" label="Name" error={error}>
        {(props) => (
          <input
            {...props}
            ref={input}
            class="input"
            autoComplete="off"
            placeholder="Kick drums"
            value={name}
            onInput={(event) => {
              setName(event.currentTarget.value);
              setError("");
            }}
          />
        )}
      </Field>
      <DropZone onFiles={take}>
        {items.length > 0 ? <b>{plural(items.length, "file")}, {bytes(items.reduce((sum, { file }) => sum + file.size, 0))} ready</b> : undefined}
      </DropZone>
      <div class="row">
        {items.length > 0 && <button type="button" class="button" onClick={() => setItems([])}>Clear files</button>}
        <button type="submit" class="button button-primary push" disabled={isSending}>Create dataset</button>
      </div>
    </form>
  );
}
