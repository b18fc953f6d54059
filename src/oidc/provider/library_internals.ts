/**
 * The library's parts that it exports to nobody, in one place because they are outside semantic versioning: the helpers
 * its own grants are made with, the store of the request under way, and the error handlers of its routes.
 */
export { default as requestStore } from 'oidc-provider/lib/helpers/als.js';
export { checkDpopReplay, checkMtlsCert, validateDpop } from 'oidc-provider/lib/helpers/grants.js';
export { default as authorizationErrorHandler } from 'oidc-provider/lib/shared/authorization_error_handler.js';
export { default as errorHandler } from 'oidc-provider/lib/shared/error_handler.js';
