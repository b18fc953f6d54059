/**
 * The parts of the library that it does not export, in one file because semantic versioning does not cover them: the
 * helpers of its grants, the store of the current request, the error handlers and steps of its routes, and its
 * response modes.
 */
export { default as requestStore } from 'oidc-provider/lib/helpers/als.js';
export { checkDpopReplay, checkMtlsCert, validateDpop } from 'oidc-provider/lib/helpers/grants.js';
export { default as authorizationErrorHandler } from 'oidc-provider/lib/shared/authorization_error_handler.js';
export { default as errorHandler } from 'oidc-provider/lib/shared/error_handler.js';
export { default as instanceOf } from 'oidc-provider/lib/helpers/weak_cache.js';
export { default as authorizationSteps } from 'oidc-provider/lib/actions/authorization/index.js';
export { getAuthorizationParams as parametersOf } from 'oidc-provider/lib/actions/authorization/request_parameters.js';
