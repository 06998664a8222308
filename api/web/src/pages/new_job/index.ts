// Both pages with the form, which come together: they share nearly all of it.
export { EditJobPage } from "./EditJobPage";
export { NewJobPage } from "./NewJobPage";
