import { useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { droppedFiles, pickedFiles } from "../../store/dropped_files";
import { tellError } from "../../store/toasts";
import type { UploadItem } from "../../store/upload_queue";

/** A place to drop files and folders on, with pickers for both. */
export function DropZone({ onFiles, children }: { onFiles: (items: readonly UploadItem[]) => void; children?: preact.ComponentChildren }) {
  const [isOver, setOver] = useState(false);
  const drop = async (event: DragEvent): Promise<void> => {
    event.preventDefault();
    setOver(false);
    if (!event.dataTransfer) return;
    try {
      onFiles(await droppedFiles(event.dataTransfer));
    } catch {
      tellError(new Error("Some of what was dropped could not be read. Please drop it again."));
    }
  };
  return (
    <div
      class="drop"
      data-over={isOver}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => void drop(event)}
    >
      <Icon name="folder" />
      <p>{children ?? "Drop sounds or whole folders here"}</p>
      <div class="row">
        <Picker label="Choose files" onFiles={onFiles} />
        <Picker label="Choose folder" isFolder onFiles={onFiles} />
      </div>
    </div>
  );
}

function Picker({ label, isFolder = false, onFiles }: { label: string; isFolder?: boolean; onFiles: (items: readonly UploadItem[]) => void }) {
  return (
    <label class="button picker">
      {label}
      <input
        type="file"
        multiple
        class="unseen"
        ref={(input) => {
          input?.toggleAttribute("webkitdirectory", isFolder);
        }}
        onChange={(event) => {
          const input = event.currentTarget;
          if (input.files) onFiles(pickedFiles(input.files));
          // So that the same files can be chosen again.
          input.value = "";
        }}
      />
    </label>
  );
}
