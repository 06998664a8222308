import { ErrorBoundary, lazy, LocationProvider, Route, Router } from "preact-iso";
import { DeleteDialog } from "./components/DeleteDialog";
import { Empty } from "./components/Notices";
import { Page } from "./components/Page";
import { PlaceDialog } from "./components/PlaceDialog";
import { ResumeDialog } from "./components/ResumeDialog";
import { Header, OfflineBanner } from "./components/Shell";
import { Shortcuts } from "./components/Shortcuts";
import { Toasts } from "./components/Toasts";
import { DatasetPage } from "./pages/datasets/DatasetPage";
import { DatasetsPage } from "./pages/datasets/DatasetsPage";
import { QueuePage } from "./pages/queue/QueuePage";

// The queue opens at once: what only other pages need comes when they are opened.
const ComparePage = lazy(() => import("./pages/compare/ComparePage").then((module) => module.ComparePage));
const JobPage = lazy(() => import("./pages/job/JobPage").then((module) => module.JobPage));
const NewJobPage = lazy(() => import("./pages/new_job").then((module) => module.NewJobPage));
const EditJobPage = lazy(() => import("./pages/new_job").then((module) => module.EditJobPage));
const ModelsPage = lazy(() => import("./pages/models/ModelsPage").then((module) => module.ModelsPage));
const WorkersPage = lazy(() => import("./pages/workers/WorkersPage").then((module) => module.WorkersPage));

export function App() {
  return (
    <LocationProvider>
      <a class="skip" href="#main">Skip to content</a>
      <Header />
      <OfflineBanner />
      <main id="main" tabIndex={-1}>
        <ErrorBoundary>
          <Router>
            <Route path="/" component={QueuePage} />
            <Route path="/datasets" component={DatasetsPage} />
            <Route path="/datasets/:id" component={DatasetPage} />
            <Route path="/new" component={NewJobPage} />
            <Route path="/models" component={ModelsPage} />
            <Route path="/workers" component={WorkersPage} />
            <Route path="/compare" component={ComparePage} />
            <Route path="/jobs/:id" component={JobPage} />
            <Route path="/jobs/:id/edit" component={EditJobPage} />
            <Route default component={NotFoundPage} />
          </Router>
        </ErrorBoundary>
      </main>
      <ResumeDialog />
      <PlaceDialog />
      <DeleteDialog />
      <Shortcuts />
      <Toasts />
    </LocationProvider>
  );
}

function NotFoundPage() {
  return (
    <Page title="Nothing here">
      <Empty title="This address leads nowhere">
        <p>It may have been mistyped.</p>
        <a class="button button-primary" href="/">Go to the queue</a>
      </Empty>
    </Page>
  );
}
