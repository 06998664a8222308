import { useEffect, useState } from "preact/hooks";
import { bytes } from "../format";
import { getDisk } from "../http/api";
import type { DiskUse } from "../model/disk";

/** "On disk: trainings 1.2 GB, sounds 300 MB, features 80 MB; 120 GB free" */
export function DiskLine() {
  const [use, setUse] = useState<DiskUse | null>(null);
  useEffect(() => {
    getDisk().then(setUse, () => undefined);
  }, []);
  if (!use) return null;
  const { parts } = use;
  const trainings = (parts["jobs"] ?? 0) + (parts["weights"] ?? 0);
  return (
    <p class="small muted disk-line" data-disk={use.sizeBytes}>
      On disk: trainings {bytes(trainings)}, sounds {bytes(parts["clips"])}, features {bytes(parts["features"])}
      {use.freeBytes !== null && `; ${bytes(use.freeBytes)} free`}
    </p>
  );
}
